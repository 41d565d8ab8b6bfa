"""push: to a Hub that is a local server, and back from a cache by the same checks as any folder."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from PIL import Image

import transferkit
from transferkit.api import _tell_card
from transferkit.deploy.hub import is_fetched
from transferkit.deploy.place import local
from transferkit.errors import InputError, TransferkitError
from transferkit.testing import tiny_guarded


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    return tiny_guarded(tmp_path_factory.mktemp("pushed") / "model")


@pytest.fixture
def hub(monkeypatch):
    """What was asked of a Hub that takes every file as it is; `refuses` makes it say no."""

    class Asked(list):
        refuses = False

    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.path, body, self.headers.get("Authorization")))
            answer = {"url": f"{address}/me/flowers"}
            if "preupload" in self.path:
                answer = {
                    "files": [
                        one | {"uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]
                    ]
                }
            if "/commit/" in self.path:
                answer = {"commitUrl": f"{address}/me/flowers/commit/1", "commitOid": "1", "success": True}
            data = json.dumps(answer).encode()
            self.send_response(403 if asked.refuses else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield asked
    server.shutdown()
    server.server_close()


def test_sends_just_the_files_of_the_model_and_a_card(cli, guarded, hub, tmp_path):
    folder = shutil.copytree(guarded, tmp_path / "model")
    (folder / "extra.py").write_text("raise SystemExit")
    result = cli("push", folder, "me/flowers", "--private")
    assert result.stdout.strip().endswith("/me/flowers")
    created = json.loads(next(body for path, body, _ in hub if path.endswith("/repos/create")))
    assert created.get("private") or created.get("visibility") == "private"  # as versions of the client say it
    assert created["name"] == "flowers"
    commit = next(body for path, body, _ in hub if "/commit/" in path)
    sent = {one["value"]["path"]: one["value"] for one in map(json.loads, commit.splitlines()) if one["key"] == "file"}
    own = {"config.json", "model.safetensors", "interference.json", "interference_head.safetensors"}
    assert set(sent) == {"README.md", *own}
    for name in own:
        assert base64.b64decode(sent[name]["content"]) == (folder / name).read_bytes()
    assert {token for *_, token in hub} == {"Bearer hf_secret"}


def test_the_card_is_as_the_hub_reads_it(cli, guarded):
    shown = cli("push", guarded, "me/flowers", "--dry-run").stdout
    files, _, rest = shown.partition("---\n")
    assert files.split() == ["README.md", *(n for n in transferkit.deploy.hub.FILES if (guarded / n).is_file())]
    head, _, text = rest.partition("---\n")
    assert yaml.safe_load(head)["library_name"] == "timm" and "metrics" in yaml.safe_load(head)
    assert "ants" in text and "at most 5 % are flagged" in text and 'transferkit.load("hf-hub:me/flowers")' in text


def test_what_cannot_be_sent(cli, guarded, hub, monkeypatch):
    with pytest.raises(InputError, match="org/name"):
        cli("push", guarded, "flowers")
    hub.refuses = True
    with pytest.raises(TransferkitError, match="the Hub did not take it"):
        cli("push", guarded, "me/flowers")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="HF_TOKEN"):
        cli("push", guarded, "me/flowers")


@pytest.fixture
def cached(guarded, tmp_path, monkeypatch):
    """The folder as the Hub's cache has it, and no Hub."""
    place = tmp_path / "cache" / "models--me--flowers"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return shutil.copytree(guarded, place / "snapshots" / ("a" * 40))


def test_comes_back_with_its_detector(cached):
    assert transferkit.load("hf-hub:me/flowers").guarded


def test_comes_back_by_the_same_rules(cached):
    (cached / "interference.json").write_text((cached / "interference.json").read_text().replace("0.05", "0.06"))
    with pytest.raises(InputError, match=r"interference\.json"):
        transferkit.load("hf-hub:me/flowers")


def test_what_is_not_there_is_a_sentence(cached):
    with pytest.raises(InputError, match="hf-hub:me/others: cannot be fetched"):
        transferkit.load("hf-hub:me/others")


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photos" / "photo.png")
    return tmp_path / "photos" / "photo.png"


def test_every_verb_takes_it(cli, cached, guarded, photo, tmp_path):
    name, data = "hf-hub:me/flowers", tmp_path / "data"
    for kind in ("ants", "bees"):
        (data / "val" / kind).mkdir(parents=True)
        shutil.copy(photo, data / "val" / kind)
    pairs = [
        ("predict", photo, "--json"),
        ("detect", photo, "--json"),
        ("evaluate", "--data", data, "--json"),
        ("explain", photo, "--json", "--out", tmp_path / "maps"),
        ("export", "--format", "pt2", "--input", "floats", "--max-batch", 2, "--out", tmp_path / "exports", "--json"),
    ]
    for verb, *rest in pairs:
        here, there = (cli(verb, model, *rest) for model in (guarded, name))
        assert there.exit_code == 0, (verb, there.stderr)
        shown = there.stdout.replace(str(cached), str(guarded))
        assert json.loads(shown)
        if verb != "export":
            assert shown == here.stdout, verb
    assert {path.name for path in cached.iterdir()} == {path.name for path in guarded.iterdir()}


def test_serve_takes_it(cached):
    from transferkit.cli.serve import named

    assert named(["hf-hub:me/flowers"], None) == {"flowers": cached}
    assert named(["mine=hf-hub:me/flowers"], None) == {"mine": cached}


def test_nothing_is_written_into_the_cache(cli, cached):
    with pytest.raises(InputError, match=r"lies in the Hub's cache.*--out"):
        cli("export", "hf-hub:me/flowers", "--input", "floats")
    with pytest.raises(InputError, match="no stage to choose"):
        cli("export", "hf-hub:me/flowers", "--stage", "target")


def test_an_audit_sees_the_whole_folder_and_leaves_it_alone(cached, tmp_path):
    assert local("hf-hub:me/flowers") == str(cached) and is_fetched(cached)
    assert local("hf-hub:me/others") == "hf-hub:me/others" and local("resnet18") == "resnet18"
    _tell_card(str(cached), tmp_path, warn=pytest.fail)
    assert not (cached / "README.md").exists()
    config = json.loads((cached / "config.json").read_text())
    del config["transferkit"]  # of another maker
    (cached / "config.json").write_text(json.dumps(config))
    assert local("hf-hub:me/flowers") == "hf-hub:me/flowers"

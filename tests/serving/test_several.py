"""Several models in one process, each under its name; and folders that change while they are served."""

from __future__ import annotations

import json
import shutil
import threading
import time

import pytest

from transferkit.cli.serve import named
from transferkit.errors import InputError
from transferkit.serving import watch
from transferkit.testing.detector import tiny_guarded

from .conftest import encoded, picture, running


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return tiny_guarded(tmp_path_factory.mktemp("other") / "other", ["left", "right"], seed=1)


def test_every_model_answers_under_its_name(folder, other):
    with running({"insects": folder, "sides": other}) as held:
        answers = {
            name: held.send(encoded(picture(1)), params={} if name is None else {"model": name}).json()
            for name in (None, "insects", "sides")
        }
        assert answers[None] == answers["insects"] and answers["sides"]["model"] != answers["insects"]["model"]
        assert answers["sides"]["predictions"][0]["class"] in ("left", "right")
        for door in ("/predict", "/explain"):
            refused = held.client.post(door, params={"model": "x"}, files={"a": encoded(picture(1))})
            assert refused.status_code == 404 and refused.json()["reason"] == "unknown_model"
            assert "insects, sides" in refused.json()["detail"]
        assert held.metric("transferkit_images_total", model="insects") == 2
        assert held.metric("transferkit_images_total", model="sides") == 1
        assert held.metric("transferkit_batch_images_sum", model="sides") == 4  # with the check's three
        assert held.metric("transferkit_model_ready", model="sides") == 1
        cards = held.client.get("/models").json()["models"]
        assert [(one["name"], one["classes"], one["watched"]) for one in cards] == [
            ("insects", ["ants", "bees", "cats", "dogs"], ["espresso", "daisy"]),
            ("sides", ["left", "right"], ["espresso", "daisy"]),
        ]
        ready = held.client.get("/health/ready").json()
        assert ready["status"] == "ready" and [one["name"] for one in ready["models"]] == ["insects", "sides"]


def test_one_model_that_fails_makes_the_server_unready_and_not_the_other_model(folder, other):
    with running({"insects": folder, "sides": other}) as held:

        def fails(images):
            raise RuntimeError("broken")

        engine = held.service.models["sides"].backend
        kept, engine.engine = engine.engine, fails
        assert held.send(encoded(picture(1)), params={"model": "sides"}).status_code == 500
        answer = held.client.get("/health/ready")
        assert answer.status_code == 503 and answer.json()["status"].startswith("sides: ")
        assert held.client.get("/v2/models/sides/ready").status_code == 503
        assert held.client.get("/v2/models/insects/ready").status_code == 200
        assert held.send(encoded(picture(1))).status_code == 200
        assert held.metric("transferkit_model_ready", model="sides") == 0 == held.metric("transferkit_ready")
        assert held.metric("transferkit_model_ready", model="insects") == 1
        engine.engine = kept
        assert held.client.get("/health/ready").status_code == 200


def test_names(folder, other, tmp_path):
    assert named([str(folder), str(other)], None) == {"model": folder, "other": other}
    assert named([f"a={folder}", f"b.1={folder}"], None) == {"a": folder, "b.1": folder}
    odd = shutil.copytree(folder, tmp_path / "a=b c")
    assert named([str(odd)], None) == {"a-b-c": odd}
    with pytest.raises(InputError, match=r'two models would be called "model".*NAME='):
        named([str(folder), str(folder)], None)
    with pytest.raises(InputError, match="cannot be the name of a model"):
        named([f"a/b={folder}"], None)


# --- folders that change --------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(watch, "INTERVAL", 0.05)


def until(found, seconds=20):
    end = time.monotonic() + seconds
    while not (last := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return last


def replaced(folder, new):
    """As a deployment does it: another folder moves into place."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    new.rename(folder)
    shutil.rmtree(aside)


def test_a_changed_folder_takes_over_and_no_request_is_lost(folder, tmp_path, quick):
    place = shutil.copytree(folder, tmp_path / "model")
    new = tiny_guarded(tmp_path / "new", ["left", "right"], seed=1)
    with running(place, watch=True) as held:
        first = held.client.get("/models").json()["models"][0]["model"]
        codes, classes, stop = [], [], threading.Event()

        def ask(seed):
            while not stop.is_set():
                answer = held.send(encoded(picture(seed)))
                codes.append(answer.status_code)
                classes.append(answer.json()["predictions"][0]["class"])

        clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
        for one in clients:
            one.start()
        replaced(place, new)
        until(lambda: held.client.get("/models").json()["models"][0]["model"] != first)
        asked = len(codes)
        until(lambda: len(codes) > asked + 6)
        stop.set()
        for one in clients:
            one.join()
        assert set(codes) == {200} and len(codes) > 10
        assert set(classes[:3]) <= {"ants", "bees", "cats", "dogs"} and set(classes[-3:]) <= {"left", "right"}
        health = held.client.get("/health/ready").json()
        assert health["status"] == "ready" and health["models"][0]["refused"] is None
        text = held.client.get("/metrics").text
        assert text.count("transferkit_model_info{") == 1 and health["model"] in text
        assert held.metric("transferkit_model_reloads_total", outcome="served") == 1


@pytest.mark.parametrize("damage", ["truncated", "gone", "other answers"])
def test_a_folder_that_is_not_right_is_refused_and_the_old_model_goes_on(folder, tmp_path, quick, damage, monkeypatch):
    place = shutil.copytree(folder, tmp_path / "model")
    with running(place, watch=True) as held:
        before = held.send(encoded(picture(1))).json()
        said = []
        held.service.note = said.append
        if damage == "truncated":
            weights = place / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-100])
        elif damage == "gone":
            (place / "model.safetensors").unlink()
        else:
            from transferkit.serving.engine import AnswerCheck

            monkeypatch.setattr(AnswerCheck, "problem", lambda *_: "logits differ by 3")
            shutil.copy(folder / "config.json", place / "config.json")
            content = json.loads((place / "config.json").read_text())
            (place / "interference.json").unlink()
            (place / "interference_head.safetensors").unlink()
            (place / "config.json").write_text(json.dumps(content, indent=3))
        refused = until(lambda: held.client.get("/health/ready").json()["models"][0]["refused"])
        assert held.client.get("/health/ready").status_code == 200
        assert held.send(encoded(picture(1))).json() == before
        assert held.metric("transferkit_model_reloads_total", outcome="refused") == 1
        assert any("not served" in text and refused in text for text in said)
        monkeypatch.undo()
        monkeypatch.setattr(watch, "INTERVAL", 0.05)
        shutil.rmtree(place)
        tiny_guarded(place, ["left", "right"], seed=1)
        until(lambda: held.send(encoded(picture(1))).json()["model"] != before["model"])
        assert held.client.get("/health/ready").json()["models"][0]["refused"] is None


def test_a_folder_in_the_middle_of_a_copy_is_left_alone(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "model")
    first = watch.state(place)
    assert watch.state(place) == first
    with (place / "model.safetensors").open("ab") as file:
        file.write(b"x")
    second = watch.state(place)
    assert second != first
    (place / "exports").mkdir()
    (place / "exports" / "model.onnx").write_bytes(b"x")
    assert watch.state(place) != second
    shutil.rmtree(place)
    assert watch.state(place) == ()

"""Going on with a run: only with what it was begun with, or with what is accepted; by one process at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.stopping import stopped_at
from tests.training.test_loop import records, same, weights, without_time
from transferkit.api import resume, run
from transferkit.errors import InputError, Interrupted
from transferkit.system.run_lock import OWNER, owned, owner_of
from transferkit.training.progress import Display
from transferkit.training.trainer import Trainer

COLOURS = {"blue": 2, "green": 1, "red": 0}


def picture(path: Path, channel: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 100, (24, 24, 3))
    pixels[:, :, channel] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/` and a run that was stopped after its first epoch: `stopped/`, and finished: `whole/`."""
    root = tmp_path_factory.mktemp("begun")
    for split, count in (("train", 5), ("val", 2)):
        for name, channel in COLOURS.items():
            for index in range(count):
                picture(root / "data" / split / name / f"{index}.bmp", channel, 100 * channel + index)
    recipe = {
        "name": "tiny", "device": "cpu", "threads": 1,
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 24}},
        "datasets": {"d": {"folder": "data"}},
        "stages": [{
            "name": "target", "start": "scratch", "dataset": "d", "epochs": 3, "batch_size": 4, "workers": 0,
            "optimizer": {"name": "momentum", "lr": 0.02}, "regularizers": [{"use": "l2", "weight": 0.001}],
        }],
    }  # fmt: skip
    (root / "r.yaml").write_text(yaml.safe_dump(recipe))
    run(root / "r.yaml", out=root / "whole", quiet=True)
    with stopped_at(6):
        run(root / "r.yaml", out=root / "stopped", quiet=True)
    for name in ("whole", "stopped"):
        found = next((root / name / "tiny").iterdir())
        found.rename(root / f"{name}-run")
    return root


@pytest.fixture
def place(begun: Path, tmp_path: Path) -> Path:
    """A copy of all of it elsewhere: the run, and data that a test may change."""
    shutil.copytree(begun, tmp_path / "here")
    return tmp_path / "here"


def go_on(place: Path, name: str = "stopped-run", **more: object) -> Path:
    moved = {"datasets.d.folder": str(place / "data")}
    return resume(place / name, quiet=True, **moved, **more).run_dir  # type: ignore[arg-type]


def test_data_that_moved_are_the_same_data(place: Path, begun: Path) -> None:
    run_dir = go_on(place)
    assert same(weights(run_dir), weights(begun / "whole-run"))
    assert without_time(records(run_dir)) == without_time(records(begun / "whole-run"))
    assert str(place / "data") in (run_dir / "recipe.yaml").read_text()
    resume(run_dir, quiet=True)  # without being told again


def test_the_speed_of_a_cut_epoch_is_that_of_the_images_trained_since(place: Path, monkeypatch) -> None:
    said: list[tuple[int, int, float]] = []

    def end_epoch(self: Display, records: list[dict], *, images: int, **more: object) -> None:
        said.append((records[0]["images"], images, records[0]["images_per_second"]))

    monkeypatch.setattr(Display, "end_epoch", end_epoch)
    evaluated = Trainer.evaluate

    def evaluate(self: Trainer) -> object:
        self._epoch_started = time.perf_counter() - 2.0  # as if training had taken two seconds
        return evaluated(self)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    go_on(place)
    # 15 images in steps of 4: the run was stopped after 2 steps of its second epoch
    assert [(images, since) for images, since, _ in said] == [(15, 15 - 8), (15, 15)]
    assert [speed for _, _, speed in said] == pytest.approx([7 / 2, 15 / 2], rel=0.05)


def files_of(place: Path) -> dict[str, bytes]:
    """What may not change when a resume is refused."""
    root = place / "stopped-run"
    kept = [path for path in root.rglob("*") if path.is_file() and "tb" not in path.parts and path.suffix != ".log"]
    return {str(path): path.read_bytes() for path in kept if path.name not in ("report.html", ".lock", "result.json")}


def swap(data: Path) -> None:
    (data / "train/blue").rename(data / "x")
    (data / "train/red").rename(data / "train/blue")
    (data / "x").rename(data / "train/red")


CHANGES = {
    "a class renamed": (lambda d: [(d / s / "blue").rename(d / s / "sky") for s in ("train", "val")], "another one"),
    "a class added": (lambda d: [picture(d / s / "amber/0.bmp", 1, 7) for s in ("train", "val")], "with amber"),
    "a class removed": (lambda d: [shutil.rmtree(d / s / "green") for s in ("train", "val")], "without green"),
    "classes swapped": (swap, "other bytes"),
    "an image added": (lambda d: picture(d / "train/red/9.bmp", 0, 8), '"red" had 5 images and has 6'),
    "an image removed": (lambda d: (d / "train/red/0.bmp").unlink(), '"red" had 5 images and has 4'),
    "an image renamed": (lambda d: (d / "val/red/0.bmp").rename(d / "val/red/8.bmp"), 'val: "red" has other images'),
    "an image replaced": (lambda d: picture(d / "train/red/0.bmp", 0, 99), "train: some files have the same size"),
    "an image enlarged": (lambda d: (d / "train/red/0.bmp").open("ab").write(b"0"), "files of other sizes"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_named_and_refused(place: Path, change: str) -> None:
    make, says = CHANGES[change]
    make(place / "data")
    before = files_of(place)
    with pytest.raises(InputError, match=says) as error:
        go_on(place)
    assert files_of(place) == before
    assert json.loads((place / "stopped-run/result.json").read_text())["status"] == "stopped"
    if "class" in change and "swapped" not in change:  # the outputs are these classes: nothing to accept
        with pytest.raises(InputError, match="start a new run"):
            go_on(place, accept=["data"])
    else:
        assert 'accept="data"' in str(error.value)
        run_dir = go_on(place, accept=["data"])
        assert any(
            says in text for text in json.loads((run_dir / "result.json").read_text())["stages"]["target"]["warnings"]
        )


RECIPES = {
    "lr": ({"optimizer.lr": 0.5}, "optimizer.lr was 0.02 and is 0.5"),
    "seed": ({"seed": 3}, "seed was 0 and is 3"),
    "epochs": ({"epochs": 5}, "epochs was 3 and is 5"),
    "batch size": ({"batch_size": 5}, "batch_size was 4 and is 5"),
    "a weight": ({"regularizers.l2.weight": 0.1}, r"regularizers\[0\].weight was 0.001 and is 0.1"),
    "a plugin": ({"regularizers": []}, r"regularizers\[0\].use was l2 and is not there"),
    "a model": ({"model": {"name": "test_vit", "preprocessing": {"input_size": 24}}}, "model.name was test_resnet"),
    "an optimizer": ({"optimizer.name": "adamw"}, "optimizer.name was momentum and is adamw"),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("of", ["stopped-run", "whole-run"])
def test_another_recipe_is_named_and_refused(place: Path, name: str, of: str) -> None:
    change, says = RECIPES[name]
    overrides = {key if key == "seed" else f"stages.target.{key}": value for key, value in change.items()}
    with pytest.raises(InputError, match=says):
        go_on(place, of, **overrides)


def test_what_changes_no_number_is_free(place: Path, begun: Path) -> None:
    run_dir = go_on(place, **{"stages.target.workers": 2, "stages.target.checkpoints.every": 2})
    assert same(weights(run_dir), weights(begun / "whole-run"))


def test_versions_and_threads_are_compared(place: Path, begun: Path) -> None:
    newest = max((place / "stopped-run/stages/target/checkpoints").glob("step-*"))
    from transferkit.training import fingerprint

    facts = json.loads((newest / "fingerprint.json").read_text())
    assert (
        facts["versions"]["torch"] == torch.__version__.partition("+")[0]
        or facts["versions"]["torch"] == torch.__version__
    )
    assert "code" in facts["versions"]["l2"]
    assert facts["machine"] == {"device": "cpu", "processes": 1, "threads": 1}
    others = {"versions": facts["versions"] | {"timm": "1.0.0"}, "machine": facts["machine"] | {"processes": 2}}
    found = fingerprint.differences(facts, others)
    assert found == {
        "versions": [f"timm was {facts['versions']['timm']} and is 1.0.0"],
        "machine": ["processes was 1 and is 2"],
    }
    with pytest.raises(InputError, match="--accept versions,machine"):
        fingerprint.refuse(found, ["versions"], "it")
    assert len(fingerprint.refuse(found, ["versions", "machine"], "it")) == 2
    with pytest.raises(InputError, match='did you mean "versions"'):
        go_on(place, accept=["version"])


def test_a_finished_stage_is_trained_on(place: Path, begun: Path) -> None:
    with pytest.raises(InputError, match="trained 3 epochs already"):
        go_on(place, "whole-run", epochs=2)
    with pytest.raises(InputError, match='did you mean "target"'):
        go_on(place, "whole-run", epochs=5, stage="targe")
    run_dir = go_on(place, "whole-run", epochs=5)
    assert [line["epoch"] for line in records(run_dir)] == [0, 1, 2, 3, 4]
    assert json.loads((run_dir / "result.json").read_text())["stages"]["target"]["steps"] == 20
    assert "epochs: 5" in (run_dir / "recipe.yaml").read_text()
    longer = run(begun / "r.yaml", out=place / "out", quiet=True, **{"stages.target.epochs": 5})
    assert same(weights(run_dir), weights(longer.run_dir))  # with a constant rate it is the longer run


def test_a_run_that_was_killed_at_once_can_be_resumed(place: Path, begun: Path) -> None:
    shutil.rmtree(place / "stopped-run/stages")
    for name in ("metrics.jsonl", "result.json", "env.json", "run.log"):
        (place / "stopped-run" / name).unlink()
    assert same(weights(go_on(place)), weights(begun / "whole-run"))


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_damaged_result_is_a_sentence(place: Path, content: str) -> None:
    (place / "stopped-run/result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json"):
        go_on(place)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({}, 'data  train: "red" has files of other sizes|data  train: some files have the same size and other bytes'),
        ({"fraction": 0.5}, "data  train of d has other images"),
    ],
    ids=["the same part", "another part"],
)
def test_images_that_changed_between_two_stages(place: Path, second: dict, words: str) -> None:
    """The first is done and the second has no checkpoint yet: its images are those of the first, or it is said."""
    recipe = yaml.safe_load((place / "r.yaml").read_text())
    recipe["stages"][0]["epochs"] = 1
    recipe["stages"].append({**recipe["stages"][0], "name": "second", "start": "target", **second})
    (place / "r.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "evaluate_start", lambda self: _stop_in(self, "second"))
        with pytest.raises(Interrupted):
            run(place / "r.yaml", out=place / "two", quiet=True)
    (run_dir,) = (place / "two" / "tiny").iterdir()
    image = place / "data/train/red/0.bmp"
    content, size = bytearray(image.read_bytes()), image.stat().st_size
    image.write_bytes(bytes([*content[:-1], content[-1] ^ 1]) if not second else bytes(content) + b"\0")
    assert second or image.stat().st_size == size
    with pytest.raises(InputError, match=words) as refused:
        resume(run_dir, quiet=True)
    assert 'accept="data"' in str(refused.value) and 'the stage "target"' in str(refused.value)
    resume(run_dir, quiet=True, accept=["data"])
    warnings = json.loads((run_dir / "result.json").read_text())["stages"]["second"]["warnings"]
    assert any("begins with a difference" in str(one) for one in warnings)


def _stop_in(trainer: Trainer, stage: str) -> None:
    if trainer.stage.name == stage:
        raise Interrupted("stopped", signal.SIGTERM)


def test_records_of_others_and_torn_lines(place: Path, begun: Path) -> None:
    path = place / "stopped-run/metrics.jsonl"
    before = path.read_bytes()
    path.write_bytes(b'{"stage": "other", "epoch": 0}\n7\nnot ours\n' + before + b'{"stage": "tar')
    with pytest.raises(InputError, match=r"metrics\.jsonl is not what was recorded up to then"):
        go_on(place)
    run_dir = go_on(place, accept=["records"])
    *foreign, _, _, _, _, _, _ = path.read_bytes().splitlines()
    assert foreign == [b'{"stage": "other", "epoch": 0}', b"7", b"not ours"]
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[3:]))
    assert without_time(records(run_dir)) == without_time(records(begun / "whole-run"))


def hold(folder: Path, held: object, over: object) -> None:
    with owned(folder):
        held.set()  # type: ignore[attr-defined]
        over.wait(30)  # type: ignore[attr-defined]


def test_a_run_belongs_to_one_process(place: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    held, over = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(place / "stopped-run", held, over))
    other.start()
    assert held.wait(60)
    with pytest.raises(InputError, match=f"in use by process {other.pid} on {socket.gethostname()}"):
        go_on(place)
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert owner_of(place / "stopped-run") is not None  # it could not say goodbye, but the lock is free
    go_on(place)
    assert owner_of(place / "stopped-run") is None


def test_an_owner_on_another_host_shows_by_its_heartbeat(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "noon"}))
    with pytest.raises(InputError, match="process 7 on elsewhere, since noon"), owned(tmp_path):
        pass
    old = time.time() - 300
    os.utime(tmp_path / OWNER, (old, old))
    with owned(tmp_path):
        assert owner_of(tmp_path)["pid"] == os.getpid()
    assert not (tmp_path / OWNER).exists()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: bytes([b[0] ^ 4]) + b[1:]])
def test_records_that_are_damaged_are_noticed(place: Path, damage: Callable[[bytes], bytes]) -> None:
    path = place / "stopped-run/metrics.jsonl"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match='accept="records"'):
        go_on(place)


def test_a_line_that_a_crash_cut_short_goes(place: Path, begun: Path) -> None:
    path = place / "stopped-run/metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"stage": "tar')
    assert without_time(records(go_on(place))) == without_time(records(begun / "whole-run"))

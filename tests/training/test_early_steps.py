"""`evaluate_at`: evaluations after chosen steps, on a fixed part of every data set, equal to evaluating by hand."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.by_hand import start_folder
from tests.training.conftest import CLASSES, offer
from tests.training.test_loop import Idle, StopAt, records, same, weights, without_time
from transferkit.api import resume
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.errors import Interrupted
from transferkit.testing import tiny_model
from transferkit.testing.tiny import tiny_source
from transferkit.training.loaders import early_loaders

EARLY = {"evaluate_at": [0, 3, 7], "evaluate_images": 5}


@pytest.fixture(scope="module")
def three_splits(tmp_path_factory, tiny_npz) -> Path:
    """The tiny data set with a test split."""
    with np.load(tiny_npz) as arrays:
        content = dict(arrays)
    rng = np.random.default_rng(3)
    content |= {"x_test": rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), "y_test": np.arange(9) % 3}
    path = tmp_path_factory.mktemp("data") / "three.npz"
    np.savez(path, **content)
    return path


def lines(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "early_steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclasses.dataclass
class Watch:
    """Keep a copy of what would be kept, at the start and after every step; look at what is evaluated early."""

    states: ClassVar[dict[int, dict[str, torch.Tensor]]] = {}
    ids: ClassVar[dict[str, list[str]]] = {}
    test_looked_at: ClassVar[list[bool]] = []

    def setup(self, session):
        Watch.states.clear()
        Watch.ids = {name: loader.samples.ids for name, loader in session._session.early.items()}
        self.keep(session)

    def keep(self, session):
        Watch.states[session.state.step] = {k: v.clone() for k, v in session._session.best_model().state_dict().items()}

    def step_end(self, session):
        self.keep(session)


@dataclasses.dataclass
class Dark:
    """A corruption: everything darker."""

    def corrupt(self, image):
        return image.point(lambda value: value // 2)


@pytest.fixture
def early(run, registry, three_splits, tmp_path):
    """early(stage keys): a run with a corrupted copy of the data set to evaluate, from known weights."""
    offer(registry, "observer", "watch", Watch)
    offer(registry, "corruption", "dark", Dark)
    start = start_folder(tmp_path / "start", CLASSES)

    def go(**stage: Any) -> Path:
        datasets = {
            "tiny": {"npz": str(three_splits)},
            "dark": {"from": "tiny", "corruptions": [{"use": "dark"}]},
        }
        keys = {"start": str(start), "evaluate": ["dark"], "observers": [{"use": "watch"}]}
        return run(top={"datasets": datasets}, **(keys | stage)).run_dir

    return go


def pixels(npz: Path, split: str, ids: list[str], *, dark: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of these ids as the model of `start_folder` wants them, from the file itself."""
    with np.load(npz) as arrays:
        chosen = [int(name.rpartition("/")[2]) for name in ids]
        found, labels = arrays[f"x_{split}"][chosen], arrays[f"y_{split}"][chosen]
    images = torch.from_numpy(found // 2 if dark else found).permute(0, 3, 1, 2).float()
    return (images / 255 - 0.5) / 0.5, torch.from_numpy(labels).long()


@pytest.mark.parametrize("stage", [{}, {"ema": {"decay": 0.5}}], ids=["plain", "averaged"])
def test_they_are_what_evaluating_by_hand_gives(early, three_splits, stage) -> None:
    run_dir = early(**EARLY, **stage)
    found = lines(run_dir)
    assert [(r["step"], r["epoch"], r["split"]) for r in found] == [
        (step, epoch, split) for step, epoch in ((0, 0), (3, 0), (7, 1)) for split in ("val", "dark")
    ]
    assert all(len(set(ids)) == 5 for ids in Watch.ids.values())
    assert Watch.ids["val"] == sorted(Watch.ids["val"], key=lambda name: int(name[4:])) == Watch.ids["dark"]
    for record in found:
        images, labels = pixels(three_splits, "val", Watch.ids["val"], dark=record["split"] == "dark")
        model = tiny_model(CLASSES)
        model.load_state_dict(Watch.states[record["step"]])
        with torch.no_grad():
            logits = model.eval()(images).logits
        predicted = logits.argmax(dim=1)
        assert record["stage"] == "target" and record["images"] == 5
        assert record["top1"] == pytest.approx(float((predicted == labels).float().mean()))
        expected = float(torch.nn.functional.cross_entropy(logits, labels))
        assert record["loss"] == pytest.approx(expected, rel=1e-4)
        for label, name in enumerate(CLASSES):
            of = labels == label
            recall = float((predicted == labels)[of].float().mean()) if of.any() else None
            assert record["per_class"][name] == pytest.approx(recall)


def test_they_change_nothing_and_never_look_at_test(early) -> None:
    watched, plain = early(**EARLY), early()
    assert "test" not in Watch.ids and not (plain / "early_steps.jsonl").exists()
    assert {record["split"] for record in lines(watched)} == {"val", "dark"}
    assert same(weights(watched), weights(plain))
    assert without_time(records(watched)) == without_time(records(plain))
    entry = json.loads((watched / "result.json").read_text())["stages"]["target"]
    assert "test" in entry["evaluations"]


def test_without_a_number_all_images_are_looked_at(early) -> None:
    found = lines(early(evaluate_at=[2]))
    assert [(record["step"], record["images"]) for record in found] == [(2, 12), (2, 12)]


def test_a_step_that_never_comes_is_never_evaluated(early) -> None:
    assert {record["step"] for record in lines(early(evaluate_at=[8, 9]))} == {8}


# -- resume ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 3, 4])
def test_an_interrupted_run_writes_each_once(run, registry, tmp_path, monkeypatch, step: int) -> None:
    offer(registry, "observer", "idle", Idle)
    offer(registry, "observer", "stopper", StopAt)
    whole = run(**EARLY, observers=[{"use": "idle", "step": step}]).run_dir
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    with pytest.raises(Interrupted) as stopped:
        run(**EARLY, observers=[{"use": "stopper", "name": "idle", "step": step}])
    run_dir = Path(stopped.value.__notes__[0].rpartition(" ")[2])
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resume(run_dir, quiet=True)
    assert lines(run_dir) == lines(whole) and len(lines(whole)) == 3


@dataclasses.dataclass
class FailsOnce:
    step: int = 2

    def step_end(self, step):
        if step == self.step and not os.environ.get("TRANSFERKIT_TEST_FAILED"):
            os.environ["TRANSFERKIT_TEST_FAILED"] = "1"
            raise RuntimeError("the power went")


@pytest.mark.parametrize(("stage", "step"), [({}, 2), ({}, 6), ({"head_init": "source"}, 2)], ids=str)
def test_an_attempt_that_came_to_no_checkpoint_leaves_no_lines(early, registry, tmp_path, monkeypatch, stage, step):
    """Records of steps that are made again are forgotten first, those of the start too."""
    offer(registry, "observer", "fails", FailsOnce)
    monkeypatch.setenv("TRANSFERKIT_TEST_FAILED", "1")
    keys = EARLY | stage | {"evaluate_at": [0, 1, 5, 7], "observers": [{"use": "fails", "step": step}]}
    whole = early(**keys)
    monkeypatch.delenv("TRANSFERKIT_TEST_FAILED")
    with pytest.raises(RuntimeError, match="the power went"):
        early(**keys)
    (run_dir,) = set((tmp_path / "runs" / "tiny").iterdir()) - {whole}
    assert lines(run_dir)
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resume(run_dir, quiet=True)
    assert lines(run_dir) == lines(whole)
    assert without_time(records(run_dir, "val")) == without_time(records(whole, "val"))


# -- the part that is looked at ----------------------------------------------------------------------------------


def loaders(count: int | None, seed: int = 0, at: tuple[int, ...] = (1,), **samples: Samples) -> dict[str, list[str]]:
    stage = SimpleNamespace(evaluate_at=list(at), evaluate_images=count, batch_size=4, workers=0)
    plan: Any = SimpleNamespace(stage=stage, seed=seed)
    one: Any = SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))
    return {name: loader.samples.ids for name, loader in early_loaders(plan, samples, one).items()}


def some(name: str, count: int = 40) -> Samples:
    pipeline = transforms(tiny_model().preprocessing, None)
    return Samples(name, "val", tiny_source(n=count), pipeline, seed=0)


def test_data_sets_made_from_one_another_show_the_same_images() -> None:
    found = loaders(12, val=some("clean"), noisy=some("noisy"), other=some("other", 39), test=some("clean"))
    assert list(found) == ["val", "noisy", "other"]
    assert found["val"] == found["noisy"] != found["other"]
    assert len(set(found["val"])) == 12
    assert loaders(12, val=some("clean")) == {"val": found["val"]}


def test_the_part_depends_on_the_seed_and_is_no_more_than_all() -> None:
    parts = {tuple(loaders(12, seed, val=some("clean"))["val"]) for seed in range(5)}
    assert len(parts) == 5
    for count in (40, 41, None):
        assert loaders(count, val=some("clean"))["val"] == some("clean").ids
    assert loaders(12, at=(), val=some("clean")) == {}


def test_the_pictures_of_a_part_are_those_of_the_whole() -> None:
    whole = some("clean")
    part = whole.subset(np.array([4, 9]))
    pairs: list[tuple[Image.Image, Image.Image]] = [(part.picture(i), whole.picture(j)) for i, j in ((0, 4), (1, 9))]
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)

"""auto_batch: what does not fit is begun anew with half as many images at once, and steps stay as they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from tests.stopping import stopped_at
from tests.training.by_hand import start_folder
from tests.training.conftest import CLASSES, offer
from tests.training.test_loop import records, same, weights, without_time
from transferkit.api import execute
from transferkit.api import run as run_file
from transferkit.errors import InputError, OutOfMemory
from transferkit.recipe import load_recipe
from transferkit.runs.fitting import halved
from transferkit.runs.folder import RunFolder
from transferkit.runs.probe import Probe


@dataclass
class Small:
    """Stands for a GPU on which so many images fit; `after` a step."""

    most: int = 2
    after: int = 0
    tried: ClassVar[list[int]] = []

    def penalty(self, images, step):
        if step >= self.after:
            self.tried.append(len(images))
            if len(images) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return images.new_zeros(()).requires_grad_()


@pytest.fixture
def small(registry):
    offer(registry, "regularizer", "small", Small)
    Small.tried.clear()
    return lambda **options: {"regularizers": [{"use": "small", "weight": 1.0} | options]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [((32, 1), (16, 2)), ((16, 3), (8, 6)), ((9, 1), (3, 3)), ((7, 1), (1, 7)), ((3, 2), (1, 6)), ((1, 8), None)],
)
def test_half_of_them_with_the_same_product(given, expected):
    assert halved(*given) == expected


@pytest.mark.parametrize("head", ["default", "ridge"])  # a ridge head is in a checkpoint before the first step
def test_it_becomes_the_run_that_names_what_fits(run, small, head, tmp_path):
    keys = {"head_init": head, "start": str(start_folder(tmp_path / "start", CLASSES))}
    found = run(batch_size=8, auto_batch=True, **keys, **small())
    assert Small.tried[:3] == [8, 4, 2]
    assert found.stages["target"]["batch"] == {"batch_size": 2, "accumulate": 4}
    assert any("8 images at once did not fit: 2 do, so batch norm" in one for one in found.stages["target"]["warnings"])
    named = run(batch_size=2, accumulate=4, **keys, **small())
    assert same(weights(found.run_dir), weights(named.run_dir))
    assert without_time(records(found.run_dir)) == without_time(records(named.run_dir))
    assert "batch_size: 8" in (found.run_dir / "recipe.yaml").read_text()  # on another machine more may fit


def test_it_is_resumed_as_it_was_found(run, small, registry, monkeypatch):
    keys = {"batch_size": 8, "auto_batch": True}
    whole = run(**keys, **small())
    with stopped_at(5):
        run(**keys, **small())
    stopped = max(whole.run_dir.parent.iterdir(), key=lambda folder: folder.stat().st_ctime)
    Small.tried.clear()
    loaded = load_recipe(stopped / "recipe.yaml", registry=registry)
    done = execute(loaded, folder=RunFolder(stopped), quiet=True)
    assert set(Small.tried) <= {1, 2}  # it tries no larger ones first
    assert same(weights(done.run_dir), weights(whole.run_dir))


def test_memory_that_is_short_later_ends_the_run_as_ever(run, small):
    with pytest.raises(OutOfMemory, match="ran out of memory at step 5"):
        run(batch_size=8, auto_batch=True, **small(after=5))
    assert set(Small.tried) == {8}


def test_without_it_and_with_one_image_it_ends(run, small):
    with pytest.raises(OutOfMemory, match=r"batch_size: 2, accumulate: 4 makes the same steps"):
        run(batch_size=8, **small())
    with pytest.raises(OutOfMemory, match="a batch is one image already"):
        run(batch_size=4, auto_batch=True, batchnorm="eval", **small(most=0))
    assert Small.tried == [8, 4, 2, 1]


def test_doctor_says_what_fits(recipe_file, registry, small):
    loaded = load_recipe(recipe_file(batch_size=8, auto_batch=True, **small()), registry=registry)
    with Probe.opened(loaded) as probe:
        assert probe.few_steps("target")["batch"] == {"batch_size": 2, "accumulate": 4}


def test_several_processes_are_refused(recipe_file, registry, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", property(lambda self: 2))
    with pytest.raises(InputError, match="auto_batch is for one process"):
        run_file(recipe_file(auto_batch=True), quiet=True)

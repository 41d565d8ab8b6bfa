"""A stage that adds classes: which rows its head starts with, and that nothing changes where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.by_hand import WHOLE, opened, pictures, start_folder
from tests.training.conftest import CLASSES
from tests.training.test_loop import same, weights
from transferkit.errors import InputError
from transferkit.model.new_rows import imprinted

OLD = ["green", "red"]
STILL = WHOLE | {"steps": 1, "epochs": None, "keep": "last", "optimizer": {"name": "sgd", "lr": 1e-30}}


@pytest.fixture
def grow(run, tmp_path, tiny_npz):
    """grow(keys of the stage, known classes): one step that moves nothing, from a model of green and red."""

    def go(stage=None, known=None, classes=OLD):
        folder = start_folder(tmp_path / "start", classes)
        known = str(folder) if known is None else known
        data = {"npz": str(tiny_npz)} | ({"known": known} if known else {})
        return run(top={"datasets": {"tiny": data}}, **STILL | {"start": str(folder)} | (stage or {}))

    return go


def head(result):
    found = weights(result.run_dir, "target")
    return found["fc.weight"], found["fc.bias"], result.stages["target"]["classes"]


def test_old_rows_stay_and_the_new_one_is_imprinted(grow, tmp_path, tiny_npz) -> None:
    result = grow({"new_rows": "imprint"})
    weight, bias, classes = head(result)
    start = opened(tmp_path / "start")
    assert classes == ["green", "red", "blue"]
    assert torch.equal(weight[:2], start.head.weight) and torch.equal(bias[:2], start.head.bias)
    images, labels = pictures(tiny_npz)
    with torch.no_grad():
        features = start.eval()(images).features
    (direction,) = imprinted(features, labels, [CLASSES.index("blue")])
    size = start.head.weight.detach().double().norm(dim=1).mean()
    assert torch.allclose(weight[2].double(), direction / direction.norm() * size, atol=1e-4)
    assert float(bias[2]) == pytest.approx(float(start.head.bias.detach().mean()), abs=1e-6)
    log = (result.run_dir / "run.log").read_text()
    assert "head: 2 rows of the source, 1 new (imprint): blue" in log
    assert "does not know" not in log


@pytest.mark.parametrize("how", ["default", "ridge"])
def test_other_ways_leave_the_old_rows_too(grow, tmp_path, how) -> None:
    weight, _, _ = head(grow({"new_rows": how}))
    start = opened(tmp_path / "start").head.weight.detach()
    assert torch.equal(weight[:2], start) and weight[2].isfinite().all() and float(weight[2].abs().max()) > 0
    if how == "ridge":
        assert float(weight[2].norm()) == pytest.approx(float(start.norm(dim=1).mean()), rel=1e-5)


def test_without_new_classes_every_weight_is_as_without_the_key(grow, tmp_path) -> None:
    """The same head, the same draws: byte for byte, whether the list is said to grow or not."""
    rate = {"optimizer": {"name": "sgd", "lr": 0.01}}
    grown = grow({"new_rows": "ridge"} | rate, classes=CLASSES)
    assert same(weights(grown.run_dir), weights(grow(rate, known="", classes=CLASSES).run_dir))


def test_a_class_that_nobody_said_to_be_known_is_warned_of(grow) -> None:
    result = grow(known="")
    assert "known: in the data set" in (result.run_dir / "run.log").read_text()
    assert head(result)[2] == CLASSES


def test_nothing_known_is_refused_as_ever(grow) -> None:
    with pytest.raises(InputError, match='the source head has 2 classes, and "red" is none of them'):
        grow(known="", classes=["x", "y"])


def test_new_rows_belong_to_a_source_head(grow) -> None:
    with pytest.raises(InputError, match="new_rows: belongs to head_init: source, but head_init is ridge"):
        grow({"head_init": "ridge", "new_rows": "imprint"})


def test_a_stage_on_new_images_alone_evaluates_the_old(run, tmp_path, tiny_npz) -> None:
    """Images of one new class, and the old data set labelled in the grown list: plan, training, metrics agree."""
    folder = start_folder(tmp_path / "start", OLD)
    datasets = {
        "old": {"npz": str(tiny_npz), "classes": OLD},
        "new": {"npz": str(tiny_npz), "classes": ["blue"], "known": "old"},
    }
    stage = STILL | {"start": str(folder), "dataset": "new", "evaluate": ["old"], "new_rows": "imprint"}
    result = run(top={"datasets": datasets}, **stage | {"batch_size": 10})
    assert head(result)[2] == [*OLD, "blue"]
    last = result.stages["target"]["last"]
    assert np.isfinite(last["loss"])

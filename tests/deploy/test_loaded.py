"""A loaded model: guarded or not, flags by a strict comparison, and only torch and timm behind it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import transferkit
from transferkit.deploy.interference import Score, write_interference
from transferkit.deploy.loaded import LoadedModel
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing import tiny_images, tiny_model
from transferkit.testing.detector import (
    LINGERING,
    SCORES,
    SOURCE_CLASSES,
    tiny_detector,
    tiny_detector_head,
    tiny_guarded,
)


@pytest.fixture
def folder(tmp_path):
    return tiny_guarded(tmp_path / "model")


def test_a_plain_model_has_no_detector(tmp_path):
    loaded = transferkit.load(save_model(tmp_path / "model", tiny_model(), None, {}))
    prediction = loaded(tiny_images(2))
    assert isinstance(loaded, LoadedModel) and not loaded.guarded
    assert loaded.interference is None and loaded.module is None and loaded.source_classes == []
    parts = (prediction.score, prediction.flag, prediction.source_class, prediction.p_value)
    assert parts == (None, None, None, None)


def test_a_guarded_model(folder):
    loaded = transferkit.load(folder)
    images = tiny_images(8)
    found = loaded(images)
    with torch.no_grad():
        output = loaded.model(images)
    assert loaded.guarded and loaded.source_classes == list(SOURCE_CLASSES)
    assert torch.equal(found.logits, output.logits)
    expected = tiny_detector_head(loaded.model.num_features).logits(output.features).softmax(dim=1)[:, list(LINGERING)]
    assert torch.allclose(found.score, expected.sum(dim=1), atol=1e-6)
    assert found.flag.tolist() == [value > loaded.interference.detect_p for value in found.score.double().tolist()]
    assert found.p_value.tolist() == [loaded.interference.calibration.p_value(s) for s in found.score.double().tolist()]
    assert set(found.source_class.tolist()) <= set(LINGERING)
    assert (found.score.dtype, found.flag.dtype, found.source_class.dtype) == (torch.float32, torch.bool, torch.int64)


def test_a_score_at_the_threshold_is_not_flagged(tmp_path):
    folder = tiny_guarded(tmp_path / "model")
    images = tiny_images(5)
    scores = transferkit.load(folder)(images).score.double().tolist()
    model = transferkit.load(folder).model
    head = tiny_detector_head(model.num_features)
    write_interference(folder, tiny_detector(model, Score("refitted", "sum"), detect_p=sorted(scores)[2]), head)
    flag = transferkit.load(folder)(images).flag.tolist()
    assert flag == [value > sorted(scores)[2] for value in scores] and sum(flag) == 2


def test_broken_images_are_flagged(folder):
    images = tiny_images(2)
    images[1] = torch.nan
    found = transferkit.load(folder)(images)
    assert found.flag.tolist()[1] is True and bool(found.p_value[1].isnan())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_and_device_follow_the_model(folder, dtype):
    loaded = transferkit.load(folder)
    assert loaded.to("cpu") is loaded and loaded.dtype == torch.float32
    loaded.to("cpu", dtype)
    found = loaded(tiny_images(3))
    assert loaded.dtype == loaded.module.head.weight.dtype == dtype
    assert loaded.device.type == "cpu" and found.logits.dtype == found.score.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda(folder):
    loaded = transferkit.load(folder)
    there = transferkit.load(folder).to("cuda")(tiny_images(4))
    here = loaded(tiny_images(4))
    assert there.score.device.type == there.flag.device.type == "cuda"
    assert torch.allclose(there.score.cpu(), here.score, atol=1e-3)


def test_another_shape_is_refused(folder):
    with pytest.raises(InputError, match="takes a batch of images"):
        transferkit.load(folder)(torch.zeros(3, 32, 32))


def test_a_separate_source_model_of_other_classes(tmp_path):
    model = tiny_model(["ants", "bees"])
    folder = save_model(tmp_path / "model", model, None, {})
    save_model(tmp_path / "source", tiny_model(["x", "y", "z", "u"]), None, {})
    write_interference(folder, tiny_detector(model, Score("separate", "max")), source_model=tmp_path / "source")
    with pytest.raises(InputError, match=r"a model of 4 classes, where .* names 5"):
        transferkit.load(folder)


def test_clean_scores_come_with_the_model(folder):
    assert transferkit.load(folder).interference.calibration.scores == SCORES


def test_predicting_needs_neither_trainer_nor_recipes_nor_plugins(folder, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 36), "red").save(tmp_path / "photo.png")
    code = f"""
import sys, transferkit
from PIL import Image
guarded = transferkit.load({str(folder)!r})
assert guarded(guarded.preprocess(Image.open({str(tmp_path / "photo.png")!r}))[None]).flag is not None
no = ("transferkit.training", "transferkit.recipe", "transferkit.analysis", "transferkit.plugins", "transferkit.runs",
      "accelerate", "pluggy", "tensorboard", "matplotlib", "typer", "rich")
print(sorted(name for name in sys.modules if name.startswith(("transferkit_", *no))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

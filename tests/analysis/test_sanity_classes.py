"""Target and baseline must mean the same classes by the same numbers."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing import tiny_model

from .audit_world import SOURCE, TARGET, images


def nameless_target(world, tmp_path, classes=2):
    net = tiny_model([str(index) for index in range(classes)], seed=1).net
    save_file(net.state_dict(), str(tmp_path / "t.safetensors"))
    return f"test_resnet@{tmp_path / 't.safetensors'}"


def test_a_weights_file_as_target_is_named_after_its_images(audit, world, tmp_path):
    result = audit(nameless_target(world, tmp_path), analyses=["counting"])
    assert any("assumed to be the class folders of the target images in sorted order" in w for w in result.warnings)
    record = json.loads((result.run_dir / "audit.json").read_text())
    assert record["models"]["target"]["preprocessing"]["input_size"] == [32, 32]  # the source's


def test_a_target_with_another_number_of_classes(audit, world, tmp_path):
    with pytest.raises(InputError, match=r"has 3 classes without names, and the target images are of 2 .*ants, bees"):
        audit(nameless_target(world, tmp_path, 3))


def test_a_baseline_with_another_order_of_classes(audit, world, tmp_path):
    save_model(tmp_path / "b", tiny_model(TARGET[::-1], seed=2), None, {})
    with pytest.raises(InputError, match=r"same classes in the same order.*bees, ants"):
        audit(baseline=tmp_path / "b")


def test_a_target_without_a_classifier(audit, world, tmp_path):
    timm.models.save_for_hf(timm.create_model("test_resnet", num_classes=0), tmp_path / "hf", safe_serialization=True)
    with pytest.raises(InputError, match="has no classifier: it was not fine-tuned"):
        audit(tmp_path / "hf")


def test_a_source_without_a_classifier_gets_one_fitted(audit, world, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model("mobilenetv3_small_050", num_classes=0)
    timm.models.save_for_hf(net, tmp_path / "source", safe_serialization=True)
    tuned = timm.create_model("mobilenetv3_small_050", num_classes=2)
    tuned.load_state_dict(net.state_dict(), strict=False)
    timm.models.save_for_hf(tuned, tmp_path / "target", safe_serialization=True)
    images(tmp_path / "i" / "train", SOURCE)
    images(tmp_path / "i" / "val", SOURCE, 2)
    result = audit(tmp_path / "target", source=tmp_path / "source", source_data=tmp_path / "i", analyses=["counting"])
    assert result.analyses["counting"]["images"] == 8 and result.analyses["counting"]["classes"] == 4
    record = json.loads((result.run_dir / "audit.json").read_text())
    assert "no classifier" in record["models"]["source"]["description"]

"""The package grad-cam: our default agrees with it, and its methods give on the cut model what they give plainly."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from transferkit.analysis.maps import ActivationMaps, Wanted, upsample
from transferkit.analysis.maps.library import method_key
from transferkit.errors import InputError
from transferkit.testing.tiny import tiny_model

from .map_models import assert_same_maps, channels_first, images_for, marked_at, model_of

library = pytest.importorskip("pytorch_grad_cam")
NAMES = [
    "GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "XGradCAM", "GradCAMElementWise", "EigenCAM", "EigenGradCAM",
    "SegEigenCAM", "KPCA_CAM", "FEM", "ScoreCAM", "AblationCAM", "ShapleyCAM",
]  # fmt: skip
METHODS = [name for name in NAMES if hasattr(library, name)]


def plainly(model, maps, kind, prefix, method, images, classes):
    """The library on the whole model as its manual says, read before it resizes and scales: (b, h, w)."""
    run, at = marked_at(model, maps.layer)
    reshape = None if kind == "channels_first" else lambda output: channels_first(output, kind, maps.grid, prefix)
    cam = getattr(library, method)(run, [at], reshape_transform=reshape)
    kept = []
    inner = cam.get_cam_image
    cam.get_cam_image = lambda *given: kept.append(inner(*given)) or kept[0]
    targets = [library.utils.model_targets.ClassifierOutputTarget(int(c)) for c in classes]
    scaled = torch.from_numpy(cam(images, targets))
    cam.activations_and_grads.activations, cam.activations_and_grads.gradients = [], []
    return torch.from_numpy(np.maximum(kept[0], 0)).float(), scaled


@pytest.mark.parametrize("method", METHODS)
def test_each_method_on_a_cut_model_is_the_method_on_the_whole_one(method):
    model, classes = model_of("test_resnet", 96), torch.tensor([2, 0])
    images = images_for(model)
    theirs, _ = plainly(model, ActivationMaps(model), "channels_first", 0, method, images.clone(), classes)
    model.zero_grad()
    model.requires_grad_(False)
    ours = ActivationMaps(model, method=method)(images, Wanted(classes))
    assert float(theirs.max()) > 0
    assert_same_maps(ours.maps[0], theirs)
    assert torch.allclose(ours.logits, model.eval()(images).logits, atol=1e-5)


@pytest.mark.parametrize("method", ["GradCAM", "LayerCAM", "GradCAMPlusPlus", "EigenGradCAM"])
@pytest.mark.parametrize(
    "name, kind, prefix, options",
    [
        ("vit_tiny_patch16_224", "tokens", 1, {"sized": True, "depth": 2}),
        ("test_mambaout", "channels_last", 0, {}),
    ],
)
def test_other_layouts_and_places_do_not_matter(name, kind, prefix, options, method):
    model, classes = model_of(name, 64, **options), torch.tensor([2, 0])
    maps, images = ActivationMaps(model, method=method), images_for(model)
    theirs, _ = plainly(model, maps, kind, prefix, method, images.clone(), classes)
    assert_same_maps(maps(images, Wanted(classes)).maps[0], theirs)


def test_scaled_and_upsampled_it_is_the_map_that_the_library_returns():
    model, classes = model_of("test_resnet", 128), torch.tensor([2, 0])
    maps, images = ActivationMaps(model), images_for(model)
    _, theirs = plainly(model, maps, "channels_first", 0, "GradCAM", images.clone(), classes)
    low = scaled(maps(images, Wanted(classes)).maps[0])
    assert float((scaled(upsample(low, (128, 128))) - theirs).abs().max()) < 1e-4
    assert float(theirs.max()) > 0.99


def scaled(maps):
    """To 0..1, as the library does it."""
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / (1e-7 + maps.amax(dim=(1, 2), keepdim=True))


def test_a_method_leaves_nothing_behind():
    model = model_of("vit_tiny_patch16_224", 64, sized=True, depth=1)
    images = images_for(model)
    for method in ("RandomCAM", "GradCAM++", "ScoreCAM", "ShapleyCAM"):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        output = ActivationMaps(model, method=method)(images, Wanted(of="margin"))
        assert output.maps[0].shape == (2, 4, 4)
        assert float(output.maps[0].min()) >= 0
        assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert not any(part._forward_hooks for part in model.modules())
        assert model.net.training


def test_ablation_runs_the_head_alone():
    model = model_of("test_resnet", 64)
    maps = ActivationMaps(model, method="AblationCAM")
    passes = []
    model.net.conv1.register_forward_hook(lambda *call: passes.append(1))
    maps(images_for(model), Wanted())
    assert len(passes) <= 3


@pytest.mark.parametrize("name", ["gradcam++", "GradCAMPlusPlus", "grad-cam_plus_plus", "gradcamplusplus"])
def test_spellings_of_one_method(name):
    assert method_key(name) == "gradcamplusplus"


def test_our_own_method_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    model = tiny_model()
    assert ActivationMaps(model, method="GradCAM").closed_form
    with pytest.raises(InputError, match=r'pip install "transferkit\[cam\]"'):
        ActivationMaps(model, method="eigencam")


def test_unknown_methods_are_refused_with_the_close_one():
    with pytest.raises(
        InputError, match=r'no method "layer-camm"[\s\S]*did you mean "layercam"\?[\s\S]*gradcam,'
    ) as caught:
        ActivationMaps(tiny_model(), method="layer-camm")
    assert "fullgrad" not in str(caught.value)
    with pytest.raises(InputError, match='no method "fullgrad"'):
        ActivationMaps(tiny_model(), method="fullgrad")


@pytest.mark.real_data
def test_on_real_weights_and_real_images(real_data):
    from PIL import Image

    from transferkit.model import build
    from transferkit.model.preprocessing import Preprocess
    from transferkit.recipe.schema import Model

    spec = Model(name="mobilenetv2_100", options={"pad_type": "same"})
    weights = real_data / "weights" / "mobilenetv2_100_imagenet1k.safetensors"
    model, _ = build(spec, weights=weights, source_classes=None, classes=None)
    paths = sorted((real_data / "imagenet").glob("*/sample_*.jpg"))[::120]
    prepare = Preprocess(model.preprocessing)
    images = torch.stack([prepare(Image.open(path)) for path in paths])
    maps = ActivationMaps(model)
    output = maps(images, Wanted())
    assert maps.closed_form and not output.empty[0].any()
    _, theirs = plainly(model, maps, "channels_first", 0, "GradCAM", images, output.logits.argmax(dim=1))
    ours = scaled(upsample(scaled(output.maps[0]), (224, 224)))
    assert float((ours - theirs).abs().max()) < 1e-4

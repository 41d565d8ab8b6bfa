"""Views by hand, and what averaging over them must not change."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as tv

from transferkit.model.views import KEPT, PASSES, OverViews, over_views, views
from transferkit.testing import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(["a", "b", "c"]).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", PASSES)
def test_so_many_views_of_the_same_shape_the_image_first(images, kind):
    found = list(views(images, kind))
    assert len(found) == PASSES[kind] and found[0] is images
    assert {view.shape for view in found} == {images.shape}
    assert torch.equal(found[1], tv.hflip(images))


def test_corners_are_those_of_torchvision(images):
    found = list(views(images, "crops"))[2:]
    assert (round(32 * KEPT), round(40 * KEPT)) == (28, 35)
    expected = tv.five_crop(images, (28, 35))[:4]  # without the centre: top left, top right, …
    for corner, view, mirrored in zip(expected, found[::2], found[1::2], strict=True):
        larger = tv.resize(corner, [32, 40], interpolation=tv.InterpolationMode.BILINEAR, antialias=False)
        torch.testing.assert_close(view, larger)
        assert torch.equal(mirrored, view.flip(-1))


@torch.no_grad()
def test_the_mean_of_probabilities_and_not_of_logits(model, images):
    by_hand = (model(images).logits.softmax(1) + model(images.flip(-1)).logits.softmax(1)) / 2
    output = OverViews(model, "flips")(images)
    torch.testing.assert_close(output.logits.softmax(1), by_hand)
    assert torch.equal(output.features, model(images).features)


@torch.no_grad()
@pytest.mark.parametrize("kind", PASSES)
def test_a_mirror_image_has_the_same_answer(model, images, kind):
    one, other = (OverViews(model, kind)(given).logits for given in (images, images.flip(-1)))
    torch.testing.assert_close(one, other)


def test_a_probability_of_zero_has_a_finite_loss(images):
    sure = torch.zeros(3, 2)
    sure[:, 0] = 200.0

    class Sure(torch.nn.Module):
        def forward(self, given):
            from transferkit.model.wrapper import Output

            return Output(sure, given.flatten(1), {})

    logits = OverViews(Sure(), "flips")(images).logits
    assert logits.isfinite().all() and over_views(images, "flips", lambda view: sure.softmax(1))[0, 1] == 0

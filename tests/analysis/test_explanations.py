"""Explanations against maps and places worked out by hand: a network whose features are the mean colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from transferkit.analysis.asked_classes import asked_classes
from transferkit.analysis.explanations import Explainer, Head, elsewhere
from transferkit.data import world
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocessing
from transferkit.model.wrapper import SourceHead, TransferModel

SIZE = 32
REDNESS = [[4.0, -2.0, -2.0], [0.0, 0.0, 0.0]]


class Colours(nn.Module):
    """The image is its own map and its mean colour the features."""

    num_features, num_classes = 3, 2

    def __init__(self, rows):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(rows))
            self.fc.bias.zero_()

    def forward_features(self, images):
        return images * 1.0

    def forward_head(self, maps, pre_logits=False):
        features = maps.mean(dim=(2, 3))
        return features if pre_logits else self.fc(features)

    def forward(self, images):
        return self.forward_head(self.forward_features(images))

    def get_classifier(self):
        return self.fc


def explainer(rows=REDNESS, size=(SIZE, SIZE), asked=(), source=None, source_asked=()):
    preprocessing = Preprocessing(size, (0.5,) * 3, (0.25,) * 3, 1.0, "center", "bilinear")
    model = TransferModel(Colours(rows), classes=["red", "other"], preprocessing=preprocessing, architecture="colours")
    heads = [Head("target", model.source_head(), asked_classes(model.classes), list(asked))]
    if source is not None:
        heads.append(Head("source", source, asked_classes(source.classes), list(source_asked)))
    return Explainer(model, heads, torch.device("cpu"), method="gradcam", layer=None)


def noise(width=SIZE, height=SIZE, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def normalised(image):
    return (np.asarray(image).astype(np.float64) / 255 - 0.5) / 0.25


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def test_probabilities_and_maps_are_those_worked_out_by_hand():
    photo, rows = noise(), [[1.0, -2.0, 3.0], [-1.0, 1.0, 0.5]]
    (view,) = explainer(rows, asked=[1, 0])(photo).views
    pixels = normalised(photo)
    expected = softmax(np.array(rows) @ pixels.mean(axis=(0, 1)))
    assert [sight.index for sight in view.sights] == [1, 0] and [one.name for one in view.sights] == ["other", "red"]
    for sight in view.sights:
        assert sight.probability == pytest.approx(expected[sight.index], abs=1e-5)
        plain = np.maximum(pixels @ np.array(rows[sight.index]), 0) / SIZE**2
        assert np.allclose(sight.map, plain, atol=1e-6) and sight.map.max() > 0
    best = int(expected.argmax())
    assert view.answers["target"] == (["red", "other"][best], pytest.approx(expected[best], abs=1e-5))
    assert view.kind == "photo" and np.array_equal(view.pixels, np.asarray(photo)) and view.box is None


def test_the_source_head_sees_the_same_features_with_its_own_classes():
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [-1.0, 1.0, 0.0]])
    bias = torch.tensor([0.1, -0.2, 0.3, 0.0])
    source = SourceHead(weight, bias, ["r", "g", "b", "g-r"])
    photo = noise(seed=3)
    (view,) = explainer(source=source, source_asked=[3])(photo).views
    own, swapped = view.sights
    pixels = normalised(photo)
    expected = softmax(weight.numpy() @ pixels.mean(axis=(0, 1)) + bias.numpy())
    assert (own.role, swapped.role, swapped.name) == ("target", "source", "g-r")
    assert swapped.probability == pytest.approx(expected[3], abs=1e-5)
    assert np.allclose(swapped.map, np.maximum(pixels[..., 1] - pixels[..., 0], 0) / SIZE**2, atol=1e-6)
    assert view.answers["source"][0] == source.classes[int(expected.argmax())]


def planted(box=(4, 18, 12, 26)):
    """A wheel of the drawn world, blue, with a bright red square at (top, left, bottom, right)."""
    picture = np.array(world.draw("target", "val", "wheel", 0, SIZE))
    picture //= 3
    top, left, bottom, right = box
    picture[top:bottom, left:right] = (255, 20, 20)
    return Image.fromarray(picture), box


def test_a_planted_square_is_where_the_map_is_and_what_the_answer_hangs_on():
    photo, (top, left, bottom, right) = planted()
    shares = (left / SIZE, top / SIZE, (right - left) / SIZE, (bottom - top) / SIZE)
    found = explainer(asked=[0])(photo, shares)
    seen, greyed, control = found.views
    assert seen.box == greyed.box == (top, left, bottom, right)
    heat = seen.sights[0].map
    inside = heat[top:bottom, left:right]
    assert inside.sum() > 0.8 * heat.sum() and inside.min() > heat.max() / 2
    assert np.array_equal(greyed.pixels[top:bottom, left:right], np.full((8, 8, 3), 128))
    outside = np.ones((SIZE, SIZE), bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(greyed.pixels[outside], seen.pixels[outside])
    assert found.covered == pytest.approx(64 / SIZE**2)
    p = [view.sights[0].probability for view in found.views]
    assert p[1] < p[0] - 0.05 and abs(p[2] - p[0]) < abs(p[1] - p[0]) / 2
    assert found.control is not None and found.control.places == 12
    every = found.control.probabilities["target", "red"]
    assert min(every) > p[1] and p[2] == pytest.approx(sorted(every)[6], abs=1e-6)
    assert control.kind == "elsewhere" and control.box is not None


def test_without_a_named_class_the_answer_without_the_box_is_looked_at_too():
    photo, (top, left, _, _) = planted((2, 2, 20, 20))
    shares = (left / SIZE, top / SIZE, 18 / SIZE, 18 / SIZE)
    found = explainer()(photo, shares)
    assert [view.answers["target"][0] for view in found.views[:2]] == ["red", "other"]
    assert [[sight.name for sight in view.sights] for view in found.views[:2]] == [["red", "other"]] * 2
    assert [sight.name for sight in explainer()(photo).views[0].sights] == ["red"]


def test_a_box_of_the_photograph_is_found_after_resize_and_crop():
    # 300 x 200 becomes 96 x 64, of which the columns from 16 to 79 are seen
    found = explainer(size=(64, 64), asked=[0])(noise(300, 200), (0.5, 0.25, 0.25, 0.5))
    top, left, bottom, right = found.views[0].box
    assert (top, bottom) == (16, 48) and (left, right) == (32, 56)
    clipped = explainer(size=(64, 64), asked=[0])(noise(300, 200), (0.0, 0.0, 0.5, 1.0))
    assert clipped.views[0].box == (0, 0, 64, 32)


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.1, 1.0), (0.5, 0.5, 0.001, 0.001)])
def test_a_box_that_the_model_does_not_see_is_refused(box):
    with pytest.raises(InputError, match="sees nothing of the box"):
        explainer(size=(16, 16), asked=[0])(noise(300, 200), box)


@pytest.mark.parametrize(
    ("box", "size"), [((4, 4, 12, 12), (32, 32)), ((0, 0, 10, 32), (32, 32)), ((30, 60, 31, 61), (64, 96))]
)
def test_other_boxes_are_as_large_and_touch_nothing(box, size):
    found = elsewhere(box, size)
    assert 0 < len(found) == len(set(found)) <= 12
    mask = np.zeros(size, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    for top, left, bottom, right in found:
        assert top >= 0 and left >= 0 and bottom <= size[0] and right <= size[1]
        assert (bottom - top, right - left) == (box[2] - box[0], box[3] - box[1])
        assert not mask[top:bottom, left:right].any()


def test_a_box_in_the_middle_has_a_control_of_another_shape_and_the_same_area():
    box = (70, 60, 170, 165)  # no box of 100 x 105 fits beside it
    found = elsewhere(box, (224, 224))
    assert 1 < len(found) == len(set(found)) <= 12
    for top, left, bottom, right in found:
        assert abs((bottom - top) * (right - left) / (100 * 105) - 1) < 0.02
        assert bottom <= 70 or top >= 170 or right <= 60 or left >= 165


def test_where_no_other_box_fits_it_is_said():
    assert elsewhere((8, 8, 26, 26), (32, 32)) == []
    found = explainer(asked=[0])(noise(), (0.2, 0.2, 0.7, 0.7))
    assert found.control is None and [view.kind for view in found.views] == ["photo", "greyed"]
    assert "there is no control" in found.notes[0]


def test_an_empty_map_is_said():
    photo = Image.new("RGB", (SIZE, SIZE), (10, 200, 200))
    found = explainer(asked=[0])(photo)
    assert found.views[0].sights[0].trouble == "empty" and not found.views[0].sights[0].map.any()
    assert found.notes == ["red (target): the map is empty: no place in the picture raises its score"]


def test_a_map_that_is_not_finite_is_said():
    (view,) = explainer([[float("inf"), 0.0, 0.0], [0.0, 0.0, 0.0]], asked=[0])(noise()).views
    assert view.sights[0].trouble == "not finite"

"""The patch: its colours and choices by hand, and its pixels at the end of the whole transform."""

from __future__ import annotations

import colorsys
import copy
import inspect
import pickle
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from transferkit_correlated_patch import choose, gate, patch_colours, shortcut_reliance
from transferkit_correlated_patch.patch import CorrelatedPatch

from transferkit.errors import InputError
from transferkit.plugins.options import path_options
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

from .corruption_world import make, pixels, samples

NAME = "correlated_patch"


# -- colours ------------------------------------------------------------------------------------------------------


def test_hues_by_hand():
    assert patch_colours(1).tolist() == [[255, 0, 0]]
    assert patch_colours(3).tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert patch_colours(4).tolist() == [[255, 0, 0], [128, 255, 0], [0, 255, 255], [128, 0, 255]]
    assert patch_colours(6)[1].tolist() == [255, 255, 0]
    assert patch_colours(3).dtype == np.uint8


@pytest.mark.parametrize("count", [2, 10, 20])
def test_hues_are_those_of_the_circle(count):
    for index, (red, green, blue) in enumerate(patch_colours(count) / 255):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        assert (saturation, value) == (1, 1)
        assert abs(hue - index / count) < 1 / 255 / 6 + 1e-9


@pytest.mark.parametrize("count", [21, 25, 26, 100, 1000])
def test_many_classes_get_distinct_colours_of_a_lattice(count):
    colours = patch_colours(count)
    assert colours.shape == (count, 3) and len({tuple(colour) for colour in colours.tolist()}) == count
    assert not {(0, 0, 0), (255, 255, 255)} & {tuple(colour) for colour in colours.tolist()}
    levels = next(m for m in range(2, 20) if m**3 - 2 >= count)
    assert set(np.unique(colours)) <= {round(255 * level / (levels - 1)) for level in range(levels)}
    if count <= 100:
        nearest = min(np.abs(a.astype(int) - b).max() for a, b in combinations(colours, 2))
        assert nearest >= 255 // (levels - 1)


def test_the_lattice_begins_after_black():
    assert patch_colours(25)[:4].tolist() == [[0, 0, 128], [0, 0, 255], [0, 128, 0], [0, 128, 128]]
    assert patch_colours(25)[-1].tolist() == [255, 255, 128]


def test_there_is_a_colour_for_at_least_one_class():
    with pytest.raises(ValueError, match="at least one class"):
        patch_colours(0)


# -- choosing -----------------------------------------------------------------------------------------------------


def test_counts_per_class_are_exact():
    labels = np.repeat([0, 1, 2, 5], [10, 5, 1, 50])
    found = choose(labels, 0.3, 7)
    assert np.bincount(labels[found], minlength=6).tolist() == [3, 2, 0, 0, 0, 15]  # ⌊3.5⌋ ⌊2.0⌋ ⌊0.8⌋ ⌊15.5⌋
    assert found.tolist() == sorted(set(found.tolist()))
    assert choose(labels, 1, 7).tolist() == list(range(66)) and choose(labels, 0, 7).tolist() == []
    assert len(choose(np.zeros(50, int), 0.29, 0)) == 15  # 14.5 + 0.5, whatever binary fractions make of it


def test_sets_are_nested_over_ratios_and_differ_by_seed():
    labels = np.arange(200) % 7
    sets = [set(choose(labels, ratio, 11).tolist()) for ratio in (0.05, 0.1, 0.3, 0.5, 0.9, 1)]
    assert all(small < large for small, large in pairwise(sets))
    assert set(choose(labels, 0.5, 11).tolist()) != set(choose(labels, 0.5, 12).tolist())


def test_a_class_is_chosen_from_whatever_the_other_classes_are():
    labels = np.array([0, 1] * 30)
    alone = np.flatnonzero(labels == 1)
    among = choose(labels, 0.4, 5)
    only = alone[choose(np.ones(30, int), 0.4, 5)]
    assert among[labels[among] == 1].tolist() == only.tolist()


def test_labels_may_be_a_tensor_or_a_list():
    labels = [2, 0, 2, 1, 2, 0]
    expected = choose(np.array(labels), 0.5, 1).tolist()
    assert choose(torch.tensor(labels), 0.5, 1).tolist() == choose(labels, 0.5, 1).tolist() == expected
    assert choose([], 0.5, 1).tolist() == []


@pytest.mark.parametrize(("labels", "ratio"), [([0], 1.1), ([0], -0.1), ([0.5], 0.5), ([[0]], 0.5)])
def test_what_cannot_be_chosen_from_is_refused(labels, ratio):
    with pytest.raises(ValueError, match="choose:"):
        choose(labels, ratio, 0)


# -- measures -----------------------------------------------------------------------------------------------------


def test_shortcut_reliance_by_hand():
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert shortcut_reliance(torch.tensor([1, 2, 0, 0, 1]), labels, 1, 3) == 3 / 5
    assert shortcut_reliance(labels, labels, 1, 3) == 0.0
    assert shortcut_reliance(torch.tensor([2, 0, 1, 2, 0]), labels, -1, 3) == 1.0
    assert shortcut_reliance(torch.tensor([999, 2, 0, 0, 1]), labels, 4, 3) == 2 / 5  # a head of a thousand classes
    assert np.isnan(shortcut_reliance(torch.tensor([]), torch.tensor([]), 1, 3))


@pytest.mark.parametrize(
    ("predictions", "labels", "shift"), [([0], [0], 0), ([0], [0], 3), ([0, 1], [0], 1), ([0], [3], 1), ([0], [-1], 1)]
)
def test_shortcut_reliance_refuses_what_has_no_meaning(predictions, labels, shift):
    with pytest.raises(ValueError, match="shortcut_reliance"):
        shortcut_reliance(torch.tensor(predictions), torch.tensor(labels), shift, 3)


def test_gate():
    assert gate(0.75, 0.5) == 0.25 and gate(0.2, 0.6) == pytest.approx(-0.4)
    assert np.isnan(gate(float("nan"), 0.5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        gate(1.2, 0.5)


# -- pixels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("options", "corner", "side"),
    [
        ({}, (0, 0), 4),
        ({"side": 5, "place": "top_right", "margin": 2}, (25, 2), 5),
        ({"side": 3, "place": "bottom_left"}, (0, 29), 3),
        ({"side": 32, "place": "bottom_right"}, (0, 0), 32),
        ({"side": 6, "place": "center"}, (13, 13), 6),
    ],
)
def test_after_the_whole_transform_the_patch_is_where_and_what_it_should_be(split, options, corner, side):
    clean, marked = samples(split=split), samples((NAME, options), split=split)
    (x, y), colours = corner, patch_colours(4)
    for index in range(0, 40, 7):
        before, after = pixels(clean.get(index, 2)[0]), pixels(marked.get(index, 2)[0])
        inside = np.zeros((32, 32), bool)
        inside[y : y + side, x : x + side] = True
        np.testing.assert_allclose(after[inside], np.tile(colours[index % 4] / 255, (side * side, 1)), atol=1e-6)
        assert np.array_equal(after[~inside], before[~inside])


def test_the_side_is_an_eighth_of_the_height():
    for size, side in ((32, 4), (224, 28), (36, 5), (3, 1)):
        image = make(NAME).corrupt(Image.new("RGB", (size, size)), 0, ["a", "b"])
        assert (np.asarray(image).sum(axis=2) > 0).sum() == side * side


def test_shifted_patches_are_those_of_another_class():
    conflict = samples((NAME, {"shift": 1}), split="val")
    for index in range(8):
        corner = pixels(conflict.get(index, 0)[0])[0, 0]
        np.testing.assert_allclose(corner, patch_colours(4)[(index + 1) % 4] / 255, atol=1e-6)
        assert conflict.get(index, 0)[1] == index % 4  # the label stays
    back = samples((NAME, {"shift": -1}), split="val")
    np.testing.assert_allclose(pixels(back.get(0, 0)[0])[0, 0], patch_colours(4)[3] / 255, atol=1e-6)


def test_alone_and_treated_as():
    image = pixels(samples((NAME, {"alone": True, "treated_as": "c2"}), split="val").get(1, 0)[0])
    np.testing.assert_allclose(image[:4, :4], np.tile(patch_colours(4)[2] / 255, (4, 4, 1)), atol=1e-6)
    np.testing.assert_allclose(
        np.delete(image.reshape(-1, 3), np.r_[0:4, 32:36, 64:68, 96:100], 0), 128 / 255, atol=1e-6
    )


def test_a_random_place_is_uniform_keeps_its_margin_and_stays():
    options = {"place": "random", "side": 2, "margin": 1}
    marked = samples((NAME, options), count=600, split="val", size=6)
    rows = list(marked.manifest_rows())
    places = [(row["x"], row["y"]) for row in rows]
    counts = np.unique(places, axis=0, return_counts=True)[1]
    assert set(places) == {(x, y) for x in (1, 2, 3) for y in (1, 2, 3)}
    assert ((counts - 600 / 9) ** 2 / (600 / 9)).sum() < 26.1  # chi-squared, 8 degrees of freedom, p = 0.001
    for index in (0, 17, 599):
        x, y = places[index]
        patch = pixels(marked.get(index, 0)[0])[y : y + 2, x : x + 2].reshape(-1, 3)
        np.testing.assert_allclose(patch, np.tile(patch_colours(4)[index % 4] / 255, (4, 1)), atol=1e-6)
    assert torch.equal(marked.get(3, 0)[0], marked.get(3, 9)[0])


def test_only_some_classes_and_an_exact_share_of_each():
    marked = samples((NAME, {"classes": ["c1", "c3"], "ratio": 0.25}))
    chosen = np.flatnonzero(marked.planted[NAME])
    assert np.bincount(marked.labels[chosen], minlength=4).tolist() == [0, 3, 0, 3]  # ⌊2.5 + ½⌋ of 10
    whole = samples((NAME, {"ratio": 0.25}))
    assert set(chosen) == {i for i in np.flatnonzero(whole.planted[NAME]) if whole.labels[i] in (1, 3)}


# -- pictures -----------------------------------------------------------------------------------------------------


def test_a_picture_takes_the_place_of_the_square(tmp_path):
    mark = np.zeros((4, 4, 4), np.uint8)
    mark[..., :3] = np.random.default_rng(0).integers(0, 256, (4, 4, 3))
    mark[..., 3] = np.array([0, 255, 128, 255])
    Image.fromarray(mark).save(tmp_path / "mark.png")
    image = Image.new("RGB", (32, 32), (10, 200, 90))
    found = np.asarray(make(NAME, image=str(tmp_path / "mark.png")).corrupt(image, 1, ["a", "b"]))[:4, :4]
    alpha = mark[..., 3:].astype(float) / 255
    expected = alpha * mark[..., :3] + (1 - alpha) * np.array([10, 200, 90])
    assert np.abs(found - expected).max() <= 1
    assert np.array_equal(found[:, 1], mark[:, 1, :3]) and (found[:, 0] == [10, 200, 90]).all()
    Image.fromarray(mark[..., :3]).save(tmp_path / "solid.png")
    solid = make(NAME, image=str(tmp_path / "solid.png")).corrupt(Image.new("RGB", (32, 32)), 0, ["a"])
    assert np.array_equal(np.asarray(solid)[:4, :4], mark[..., :3])
    assert path_options(installed().get("corruption", NAME).options) == ["image"]


# -- wrong input --------------------------------------------------------------------------------------------------


def test_a_class_that_does_not_exist_is_named_with_a_suggestion():
    with pytest.raises(InputError, match=r'no class called "c11"; did you mean "c1"\?'):
        samples((NAME, {"classes": ["c11"]}))
    with pytest.raises(InputError, match=r'no class called "C9"'):
        samples((NAME, {"treated_as": "C9"}))


def test_a_patch_that_does_not_fit_is_one_sentence():
    with pytest.raises(InputError, match="a patch of 33 pixels does not fit in an image of 32 x 32"):
        samples((NAME, {"side": 33})).get(0, 0)
    with pytest.raises(InputError, match="of 30 pixels with a margin of 2 does not fit"):
        list(samples((NAME, {"side": 30, "margin": 2, "place": "random"})).manifest_rows())


def test_unreadable_pictures_and_contradictions_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"the picture .*gone\.png does not exist"):
        make(NAME, image=str(tmp_path / "gone.png"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"the picture .*bad\.png cannot be read"):
        make(NAME, image=str(tmp_path / "bad.png"))
    for options in ({"treated_as": "a", "shift": 1}, {"image": str(tmp_path / "bad.png"), "shift": 1}):
        with pytest.raises(InputError, match=NAME):
            make(NAME, **options)
    for options in ({"ratio": 0}, {"ratio": 1.5}, {"side": 0}, {"margin": -1}, {"place": "middle"}):
        with pytest.raises(ValidationError):
            make(NAME, **options)


@pytest.mark.parametrize("options", [{}, {"place": "random", "ratio": 0.5}, {"alone": True, "shift": 1}])
def test_keeps_the_promises_of_a_plugin(options):
    check_plugin(installed().get("corruption", NAME).cls, **options)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda plugin: pickle.loads(pickle.dumps(plugin))])
def test_only_a_place_that_is_drawn_asks_for_random_numbers_and_copies_paint_with_their_own_options(copied):
    fixed, drawn = CorrelatedPatch(), CorrelatedPatch(place="random", side=4)
    assert "rng" not in inspect.signature(fixed.corrupt).parameters
    assert "rng" in inspect.signature(drawn.corrupt).parameters
    other = copied(drawn)
    assert other == drawn and other.corrupt.__self__ is other
    other.side = 8
    painted = [
        np.asarray(
            plugin.corrupt(Image.new("RGB", (32, 32)), label=1, classes=["a", "b"], rng=np.random.default_rng(0))
        )
        for plugin in (drawn, other)
    ]
    assert [int(pixels.any(axis=2).sum()) for pixels in painted] == [16, 64]

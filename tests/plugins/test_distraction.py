"""Equation 4 by hand, against numpy.percentile pixel by pixel, and under what must not change it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from transferkit_distraction import distraction
from transferkit_distraction.overlap import Strong, chance, overlaps, strongest


def oracle(target, source, box, percentile=80, scope="zeroed"):
    """The definition in NumPy, in float64."""
    top, left, bottom, right = box
    background = np.ones(target.shape, dtype=bool)
    background[top:bottom, left:right] = False
    masks = []
    for values in (np.asarray(target, np.float64), np.asarray(source, np.float64)):
        over = np.where(background, values, 0) if scope == "zeroed" else values[background]
        if over.size == 0:
            return math.nan
        masks.append((values > np.percentile(over, percentile)) & background)
    either = (masks[0] | masks[1]).sum()
    return (masks[0] & masks[1]).sum() / either if either else math.nan


def distractions(target, source, boxes, percentile, scope):
    """The form for many maps at once."""
    return overlaps(*(strongest(maps, boxes, percentile, scope) for maps in (target, source)))


def random_box(rng, height, width):
    top, bottom = sorted(rng.integers(0, height + 1, 2))
    left, right = sorted(rng.integers(0, width + 1, 2))
    return int(top), int(left), int(bottom), int(right)


# 4 x 4 maps, the overlay on the upper left quarter. 80 % of the way through 16 values is between the 13th and the 14th.
TARGET = np.array([[9, 9, 1, 2], [9, 9, 3, 4], [5, 6, 7, 8], [0, 0, 0, 0]], dtype=np.float32)
SOURCE = np.array([[0, 0, 9, 0], [0, 0, 0, 0], [0, 0, 8, 7], [0, 0, 6, 5]], dtype=np.float32)
BOX = (0, 0, 2, 2)


def test_zeroed_by_hand():
    # the overlay's nines count as zeros, so target keeps 6, 7, 8 and source 7, 8, 9: the 7 and 8 of the third row
    assert distraction(TARGET, SOURCE, BOX).item() == 2 / 4


def test_region_by_hand():
    # 12 background values: above the 9th are 6, 7, 8; of the source 7, 8, 9
    assert distraction(TARGET, SOURCE, BOX, scope="region").item() == 2 / 4
    # 60 %: zeroed keeps what is above the 10th of 16 (3 to 8), region above the 7th of 12 (4 to 8)
    assert distraction(TARGET, SOURCE, BOX, percentile=60).item() == 2 / 9
    assert distraction(TARGET, SOURCE, BOX, percentile=60, scope="region").item() == 2 / 8


def test_a_map_without_heat_outside_the_overlay_selects_nothing():
    # with "at or above" it would select all twelve background pixels
    inside = np.zeros((4, 4))
    inside[:2, :2] = 1
    assert distraction(inside, SOURCE, BOX).item() == 0
    assert distraction(SOURCE, inside, BOX).item() == 0
    assert math.isnan(distraction(inside, inside, BOX))
    assert math.isnan(distraction(np.zeros((4, 4)), np.zeros((4, 4)), BOX, scope="region"))


def test_equal_and_disjoint_maps():
    rng = np.random.default_rng(0)
    heat = rng.random((12, 12))
    assert distraction(heat, heat, (2, 2, 6, 6)).item() == 1
    assert distraction(heat, -heat, (2, 2, 6, 6), scope="region").item() == 0


@pytest.mark.parametrize("scope", ["zeroed", "region"])
@pytest.mark.parametrize("percentile", [0, 5, 50, 80, 87.5, 95, 100])
def test_agrees_with_numpy(scope, percentile):
    rng = np.random.default_rng(7)
    for number in range(60):
        height, width = (int(size) for size in rng.integers(1, 15, 2))
        target, source = rng.normal(size=(2, height, width)).astype(np.float32)
        if number % 3 == 0:  # many ties and zeros, as after a ReLU
            target, source = np.maximum(target, 0).round(1), np.maximum(source, 0).round(1)
        box = random_box(rng, height, width)
        expected = oracle(target, source, box, percentile, scope)
        assert distraction(target, source, box, percentile, scope).item() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("scope", ["zeroed", "region"])
def test_many_at_once_are_the_same_as_one_by_one(scope):
    rng = np.random.default_rng(3)
    target = torch.from_numpy(np.maximum(rng.normal(size=(40, 9, 13)), 0)).float()
    source = torch.from_numpy(np.maximum(rng.normal(size=(40, 9, 13)), 0)).float()
    target[5] = 0
    target[6] = source[6] = 0
    boxes = [random_box(rng, 9, 13) for _ in range(38)] + [(0, 0, 9, 13), (4, 4, 4, 4)]
    found = distractions(target, source, boxes, 80, scope)
    single = torch.stack([distraction(*row, 80, scope) for row in zip(target, source, boxes, strict=True)])
    assert torch.equal(found.nan_to_num(-1), single.nan_to_num(-1))
    assert found[5] == 0 and found[6].isnan() and found[38].isnan()
    assert len(distractions(target[:0], source[:0], [], 80, scope)) == 0


def test_invariances():
    rng = np.random.default_rng(1)
    target, source = rng.random((2, 10, 10))
    box = (1, 2, 5, 6)
    value = distraction(target, source, box)
    torch.testing.assert_close(distraction(source, target, box), value)  # symmetric
    torch.testing.assert_close(distraction(7 * target, 0.01 * source, box), value)  # heat has no unit
    torch.testing.assert_close(distraction(target**3, np.sqrt(source), box), value)  # only its order counts
    flipped = distraction(target[:, ::-1], source[:, ::-1], (1, 4, 5, 8))
    torch.testing.assert_close(flipped, value)
    torch.testing.assert_close(distraction(target.T, source.T, (2, 1, 6, 5)), value)
    changed = target.copy()
    changed[1:5, 2:6] = 100  # what is under the overlay does not matter
    torch.testing.assert_close(distraction(changed, source, box), value)
    torch.testing.assert_close(
        distraction(changed, source, box, scope="region"), distraction(target, source, box, scope="region")
    )


def test_no_rounding_of_the_percentile():
    # neighbours in float32, between which an interpolated float32 percentile is one of them
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    heat = np.full((1, 10), low, dtype=np.float32)
    heat[0, 8:] = high
    assert strongest(torch.from_numpy(heat)[None], [(0, 0, 0, 0)], 85).pixels[0, 0].tolist() == [False] * 8 + [True] * 2


def test_strongest_pixels_of_a_large_map_are_a_fifth():
    maps = torch.rand(2, 224, 224, generator=torch.Generator().manual_seed(0))
    zeroed = strongest(maps, [(0, 0, 90, 90)] * 2).pixels
    region = strongest(maps, [(0, 0, 90, 90)] * 2, scope="region").pixels
    assert zeroed.flatten(1).sum(1).tolist() == [math.ceil(0.2 * (224 * 224 - 1))] * 2
    assert region.flatten(1).sum(1).tolist() == [math.ceil(0.2 * (224 * 224 - 90 * 90 - 1))] * 2
    assert not zeroed[:, :90, :90].any() and not region[:, :90, :90].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_types(dtype):
    target, source = torch.from_numpy(TARGET).to(dtype), torch.from_numpy(SOURCE).to(dtype)
    value = distraction(target, source, BOX)
    assert value.item() == 0.5 and value.dtype == torch.float64 and value.ndim == 0


def test_arrays_that_cannot_be_written_or_run_backwards_and_lists():
    locked = TARGET.copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert distraction(locked, SOURCE[::-1][::-1], BOX) == 0.5
    assert distraction(TARGET.tolist(), SOURCE.tolist(), list(BOX)) == 0.5
    assert float(distraction(TARGET, torch.from_numpy(SOURCE).requires_grad_(), BOX)) == 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    target, source = torch.rand(2, 50, 30, 20, generator=torch.Generator().manual_seed(0))
    boxes = [random_box(np.random.default_rng(i), 30, 20) for i in range(50)]
    for scope in ("zeroed", "region"):
        found = distractions(target.cuda(), source.cuda(), boxes, 80, scope)
        assert found.is_cuda
        assert torch.equal(found.cpu().nan_to_num(-1), distractions(target, source, boxes, 80, scope).nan_to_num(-1))


@pytest.mark.parametrize("broken", ["target", "source"])
def test_a_map_with_nan_has_no_value(broken):
    maps = {"target": TARGET.copy(), "source": SOURCE.copy()}
    maps[broken][3, 3] = np.nan
    assert math.isnan(distraction(maps["target"], maps["source"], BOX))
    assert math.isnan(distraction(maps["target"], maps["source"], BOX, scope="region"))
    maps[broken][3, 3], maps[broken][0, 0] = 0, np.nan  # under the overlay it does not matter
    assert not math.isnan(distraction(maps["target"], maps["source"], BOX))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((TARGET, SOURCE[:3], BOX), r"one shape, not \(4, 4\) and \(3, 4\)"),
        ((TARGET[0], SOURCE[0], BOX), r"target_map must be a map \(H, W\)"),
        ((TARGET, SOURCE[None], BOX), "source_map must be a map"),
        ((TARGET, SOURCE, (0, 0, 5, 2)), "not within a map of 4 x 4"),
        ((TARGET, SOURCE, (-1, 0, 2, 2)), "not within a map"),
        ((TARGET, SOURCE, (2, 0, 1, 2)), "not within a map"),
        ((TARGET, SOURCE, BOX, 101), "within 0..100, not 101"),
        ((TARGET, SOURCE, BOX, -1), "within 0..100"),
        ((TARGET, SOURCE, BOX, math.nan), "within 0..100"),
        ((TARGET, SOURCE, BOX, 80, "whole"), 'zeroed or region, not "whole"'),
    ],
)
def test_wrong_arguments_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        distraction(*arguments)


def test_chance_is_what_independent_masks_overlap():
    assert chance(80, "region", 0.16) == pytest.approx(1 / 9)
    assert chance(80, "zeroed", 0.0) == pytest.approx(1 / 9)
    rng = torch.Generator().manual_seed(0)
    target, source = torch.rand(2, 60, 100, 100, generator=rng)
    boxes = [(10, 20, 50, 60)] * 60
    for scope in ("zeroed", "region"):
        found = distractions(target, source, boxes, 80, scope).mean().item()
        assert found == pytest.approx(chance(80, scope, 0.16), abs=0.002)
    assert math.isnan(chance(80, "zeroed", 1.0))


def test_overlaps_by_hand():
    one = torch.tensor([[[True, True, False]], [[False] * 3], [[False] * 3], [[True] * 3]])
    other = torch.tensor([[[False, True, True]], [[True, False, False]], [[False] * 3], [[True] * 3]])
    known = torch.tensor([True, True, True, False])
    found = overlaps(Strong(one, torch.ones(4, dtype=torch.bool)), Strong(other, known))
    assert found.nan_to_num(-1).tolist() == [1 / 3, 0, -1, -1]


def test_a_map_and_a_box_each():
    with pytest.raises(ValueError, match="2 maps and 1 boxes"):
        strongest(torch.zeros(2, 4, 4), [BOX])

"""Composites: known pixels, the same whoever asks in whatever order, and a manifest that is enough to make them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from transferkit.analysis import place_overlay
from transferkit.analysis.composites import Batches, Composites, compose, stretched
from transferkit.data.contents import Contents, Source
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.model import Preprocessing

CLASSES = ["cat", "dog", "owl"]


def preprocessing(height=24, width=24, mean=0.5):
    return Preprocessing((height, width), (mean,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")


def samples(n, size=(24, 24), *, seed=0, mean=0.5, name="made up"):
    """n pictures of noise in three classes, of the canvas's size already."""
    height, width = size
    labels = np.arange(n, dtype=np.int64) % len(CLASSES)
    ids = [f"{name}/{CLASSES[label]}/{i}.png" for i, label in enumerate(labels)]

    def read(index):
        rng = np.random.default_rng([seed, index])
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    contents = Contents(CLASSES, labels, ids, read, lambda: b"made up")
    source = Source(CLASSES, labels, ids, contents, np.arange(n, dtype=np.int64))
    return Samples(name, "val", source, transforms(preprocessing(height, width, mean), None), seed=0)


def made(size=(24, 24), *, backgrounds=9, overlays=6, **options):
    options = {"classes": [0, 1, 2], "pool": range(overlays), "scale": 0.4, "total": 4, "seed": 0} | options
    return compose(samples(backgrounds, size), samples(overlays, size, seed=1, name="over"), **options)


def test_pixels_by_hand():
    found = made()
    item = found.items[5]
    background = np.asarray(found.backgrounds.picture(item.background))
    overlay = found.overlays.picture(item.overlay).resize((item.width, item.height), Image.Resampling.BILINEAR)
    expected = background.copy()
    top, left, bottom, right = item.box
    expected[top:bottom, left:right] = np.asarray(overlay)
    np.testing.assert_array_equal(found.pixels(5), expected)
    np.testing.assert_array_equal(found.background(5), background)
    assert (item.height, item.width) == (10, 10) == (bottom - top, right - left)


def test_the_control_has_the_same_overlay_at_the_same_place_on_one_colour():
    found = made()
    item = found.items[3]
    top, left, bottom, right = item.box
    control, picture = found.on_colour(3, (10, 20, 30)), found.pixels(3)
    np.testing.assert_array_equal(control[top:bottom, left:right], picture[top:bottom, left:right])
    outside = np.ones((24, 24), dtype=bool)
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(control[outside], np.tile(np.uint8([10, 20, 30]), (outside.sum(), 1)))


def test_the_overlay_is_reduced_with_antialiasing():
    # a fine checkerboard becomes grey; picking every n-th pixel would give black or white
    board = Image.fromarray(np.tile(np.uint8([[0, 255], [255, 0]]), (20, 20))[..., None].repeat(3, axis=2))
    found = made((40, 40), overlays=1)
    found._overlay = lambda index: board
    top, left, bottom, right = found.items[0].box
    pasted = found.pixels(0)[top:bottom, left:right]
    assert pasted.min() > 90 and pasted.max() < 165


def test_places_are_those_of_place_overlay_and_overlays_come_from_the_pool():
    found = made(pool=[5, 2], overlays=6, seed=8)
    for item in found.items:
        drawn, top, left, side = place_overlay(8, item.source_class, item.background_id, item.repeat, 2, 24, 0.4)
        assert (item.overlay, item.top, item.left) == ([5, 2][drawn], top, left)
        assert (item.height, item.width) == (side, side)
        assert item.overlay_id == found.overlays.ids[item.overlay]
        assert item.overlay_class == found.overlays.labels[item.overlay]
        assert found.backgrounds.labels[item.background] == item.source_class
        assert item.background_id == found.backgrounds.ids[item.background]


@pytest.mark.parametrize(("images", "total", "expected"), [(3, 4, 6), (3, 3, 3), (1, 5, 5), (5, 3, 3), (0, 4, 0)])
def test_every_image_once_or_as_often_as_the_total_asks(images, total, expected):
    found = made(backgrounds=3 * images or 1, classes=[0 if images else 1], total=total)
    assert len(found) == expected
    per_image = [item.background for item in found.items]
    assert len(set(per_image)) == min(images, total)
    assert len({(item.background, item.repeat) for item in found.items}) == expected


def test_a_choice_among_many_images_is_keyed_by_their_ids_and_nested():
    few = {item.background for item in made(backgrounds=60, classes=[1], total=5).items}
    more = {item.background for item in made(backgrounds=60, classes=[1], total=12).items}
    other = {item.background for item in made(backgrounds=60, classes=[1], total=5, seed=1).items}
    assert len(few) == 5 and few < more and few != other


def test_a_class_does_not_depend_on_the_others_that_are_asked_for():
    alone = made(classes=[2]).items
    assert alone == [item for item in made(classes=[1, 2, 0]).items if item.source_class == 2]


def test_the_same_pixels_in_any_order_and_batch_and_from_a_second_object():
    one, other = made(), made()
    first = [one.pixels(i) for i in range(len(one))]
    for i in reversed(range(len(other))):
        np.testing.assert_array_equal(other.pixels(i), first[i])
    model = preprocessing()
    whole = Batches(model, torch.device("cpu"))(first)
    pieces = [Batches(model, torch.device("cpu"))(first[i : i + 2]) for i in range(0, len(first), 2)]
    assert torch.equal(whole, torch.cat(pieces))


def test_asking_changes_no_picture():
    found = made()
    before = found.background(0).copy()
    found.pixels(0)
    found.on_colour(0, (0, 0, 0))
    np.testing.assert_array_equal(found.background(0), before)


@pytest.mark.parametrize("size", [(24, 40), (40, 24), (24, 25)])
def test_canvases_that_are_not_square(size):
    height, width = size
    found = made(size, backgrounds=30, total=40)
    for index, item in enumerate(found.items):
        assert found.pixels(index).shape == (height, width, 3)
        assert abs(item.height - 10 * height / 24) <= 0.5 and abs(item.width - 10 * width / 24) <= 0.5
        top, left, bottom, right = item.box
        assert 0 <= top <= bottom <= height and 0 <= left <= right <= width
    tops, lefts = {item.top for item in found.items}, {item.left for item in found.items}
    assert {min(tops), max(tops) + found.items[0].height} == {0, height}
    assert {min(lefts), max(lefts) + found.items[0].width} == {0, width}


def test_stretching_by_hand():
    assert stretched((3, 5, 10), (24, 24)) == (3, 5, 10, 10)
    assert stretched((0, 14, 10), (24, 48)) == (0, 28, 10, 20)  # the right end stays the right end
    assert stretched((14, 7, 10), (24, 48)) == (14, 14, 10, 20)  # and the middle the middle
    assert stretched((0, 0, 24), (24, 30)) == (0, 0, 24, 30)


def test_the_manifest_rebuilds_the_pictures(tmp_path):
    found = made()
    found.write(tmp_path / "composites")
    with (tmp_path / "composites" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found)
    backgrounds = dict(zip(found.backgrounds.ids, range(9), strict=True))
    overlays = dict(zip(found.overlays.ids, range(6), strict=True))
    for index, row in enumerate(rows):
        place = {name: int(row[name]) for name in ("top", "left", "height", "width")}
        canvas = found.backgrounds.picture(backgrounds[row["background_id"]]).copy()
        overlay = found.overlays.picture(overlays[row["overlay_id"]])
        size = place["width"], place["height"]
        canvas.paste(overlay.resize(size, Image.Resampling.BILINEAR), (place["left"], place["top"]))
        written = np.asarray(Image.open(tmp_path / "composites" / row["file"]))
        np.testing.assert_array_equal(written, np.asarray(canvas))
        np.testing.assert_array_equal(written, found.pixels(index))


def test_rows_name_every_part():
    columns, rows = made().rows()
    assert columns[:3] == ["source_class", "background", "background_id"] and len(rows[0]) == len(columns)
    assert rows[0] == [getattr(made().items[0], name) for name in columns]


def test_batches_normalise_and_resize():
    picture = np.full((24, 24, 3), 51, dtype=np.uint8)
    batch = Batches(preprocessing(24, 24), torch.device("cpu"))([picture])
    assert batch.shape == (1, 3, 24, 24)
    torch.testing.assert_close(batch, torch.full_like(batch, (51 / 255 - 0.5) / 0.5))
    assert Batches(preprocessing(12, 30), torch.device("cpu"))([picture, picture]).shape == (2, 3, 12, 30)


def test_no_images_no_composites():
    found = made(classes=[])
    assert len(found) == 0 and isinstance(found, Composites) and found.rows()[1] == []

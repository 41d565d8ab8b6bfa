"""Heat maps over pictures, and rows of tiles as JPEG."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from transferkit.analysis import plots


def noise(seed=0, size=224):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_heat_mixes_by_its_strength():
    pixels = np.full((2, 3, 3), 100, np.uint8)
    heat = np.array([[0.0, 1.0, 0.5], [np.nan, 7.0, -3.0]])
    mixed = plots.overlay_heat(pixels, heat, strength=0.5)
    hottest = 255 * np.array(matplotlib.colormaps["plasma"](1.0)[:3])
    half = 255 * np.array(matplotlib.colormaps["plasma"](0.5)[:3])
    assert mixed.dtype == np.uint8 and mixed.shape == (2, 3, 3)
    assert np.array_equal(mixed[0, 0], [100, 100, 100])
    assert np.array_equal(mixed[0, 1], np.rint(50 + hottest / 2))
    assert np.array_equal(mixed[0, 2], np.rint(75 + half / 4))
    assert np.array_equal(mixed[1], [[100] * 3, mixed[0, 1], [100] * 3])
    assert np.array_equal(pixels, np.full((2, 3, 3), 100))


def test_a_coarse_map_is_resized():
    heat = np.zeros((7, 7))
    heat[0, 0] = 1
    change = np.abs(plots.overlay_heat(np.zeros((224, 224, 3), np.uint8), heat).astype(int)).sum(axis=2)
    assert change[:16, :16].min() > 100 and change[64:].max() == 0 and change[:, 64:].max() == 0


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), "u1")],
)
def test_what_is_no_picture_is_refused(tmp_path, pixels):
    with pytest.raises(ValueError, match="a picture is"):
        plots.overlay_heat(pixels, np.zeros((4, 4)))
    with pytest.raises(ValueError, match="a picture is"):
        plots.tile_row(tmp_path / "a.jpg", [pixels])
    with pytest.raises(ValueError, match="two axes"):
        plots.overlay_heat(np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4)))


def test_a_row_of_tiles(tmp_path):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    tiles = [np.full((size, size, 3), colour, np.uint8) for size, colour in zip((32, 224, 400), colours, strict=True)]
    plots.tile_row(tmp_path / "new" / "gallery-0.jpg", tiles, boxes=[None, (56, 112, 168, 224), None])
    row = np.asarray(Image.open(tmp_path / "new" / "gallery-0.jpg").convert("RGB")).astype(int)
    assert row.shape == (160, 3 * 160 + 2 * 4, 3)
    for i, colour in enumerate(colours):
        assert np.abs(row[150, i * 164 + 20] - colour).max() < 12
    dark = row[:, 164:324].sum(axis=2) < 150  # the outline: rows 40 to 119, columns 80 to 159 of the second tile
    rows, columns = np.where(dark)
    assert abs(rows.min() - 40) <= 2 and abs(rows.max() - 119) <= 2 and abs(columns.min() - 80) <= 2
    assert not dark[60:100, 100:140].any()


def test_tiles_of_other_shapes_are_centred(tmp_path):
    plots.tile_row(tmp_path / "a.jpg", [np.zeros((100, 200, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)])
    row = np.asarray(Image.open(tmp_path / "a.jpg").convert("L"))
    assert row.shape == (160, 324)
    assert row[5, 80] > 240 and row[80, 80] < 15 and row[155, 80] > 240 and row[5, 240] < 15


def test_a_box_of_one_pixel_at_the_edge(tmp_path):
    plots.tile_row(tmp_path / "a.jpg", [noise()], boxes=[(223, 223, 224, 224)])
    assert Image.open(tmp_path / "a.jpg").size == (160, 160)


def test_a_row_needs_tiles_and_one_box_each(tmp_path):
    with pytest.raises(ValueError, match="0 tiles"):
        plots.tile_row(tmp_path / "a.jpg", [])
    with pytest.raises(ValueError, match="2 boxes"):
        plots.tile_row(tmp_path / "a.jpg", [noise()], boxes=[None, None])
    assert list(tmp_path.iterdir()) == []


def test_rows_are_small_and_repeatable(tmp_path):
    y, x = np.mgrid[:224, :224] / 224
    smooth = np.stack([255 * y, 255 * x, 127 + 120 * np.sin(9 * x * y)], axis=2)
    grain = np.random.default_rng(0).normal(0, 8, smooth.shape)  # about as busy as a photograph
    photo = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    heat = np.exp(-((x - 0.5) ** 2 + (y - 0.3) ** 2) / 0.03)
    for name in ("a.jpg", "b.jpg"):
        plots.tile_row(
            tmp_path / name, [photo, *3 * [plots.overlay_heat(photo, heat)]], boxes=[(9, 9, 99, 99), *3 * [None]]
        )
    data = (tmp_path / "a.jpg").read_bytes()
    assert 8_000 < len(data) < 25_000
    assert data == (tmp_path / "b.jpg").read_bytes()
    assert Image.open(io.BytesIO(data)).info.get("exif") is None


def test_rows_with_words_hold_the_tiles_of_rows_without(tmp_path):
    tiles = [np.full((40, 40, 3), colour, np.uint8) for colour in ((250, 0, 0), (0, 0, 250))]
    rows = [plots.TileRow(tiles, [("a", "b")] * 2), plots.TileRow(tiles[:1], [("c", "")], [(10, 10, 30, 30)])]
    plots.tile_rows(tmp_path / "new" / "a.jpg", rows, size=100)
    picture = np.asarray(Image.open(tmp_path / "new" / "a.jpg").convert("RGB")).astype(int)
    strip = 2 * plots.LINE + plots.GAP
    assert picture.shape == (2 * (strip + 100 + 2 * plots.GAP) + plots.GAP, 204, 3)
    assert np.abs(picture[strip + 50, 50] - (250, 0, 0)).max() < 12
    assert np.abs(picture[strip + 50, 150] - (0, 0, 250)).max() < 12
    below = strip + 100 + 2 * plots.GAP + strip + plots.GAP
    assert (picture[below : below + 100, :100].sum(axis=2) < 100).any(), "the outline"
    assert (picture[: strip - 2, :100].min(axis=2) < 128).any() and picture[below - strip :, 110:].min() > 235


def test_words_are_cut_to_their_tile_and_notes_are_wrapped(tmp_path):
    tile = np.zeros((40, 40, 3), np.uint8)
    long = "\x1b[31m" + "a very long name " * 20
    heights = []
    for notes in ((), ("short",), ("many words " * 40,)):
        plots.tile_rows(tmp_path / "a.jpg", [plots.TileRow([tile, tile], [(long, long), ("", "")])], notes, size=200)
        picture = np.asarray(Image.open(tmp_path / "a.jpg").convert("L"))
        heights.append(picture.shape[0])
        assert picture.shape[1] == 404
        assert picture[: 2 * plots.LINE + plots.GAP, 198:].min() > 235, "over the next tile"
    assert heights[1] - heights[0] == plots.LINE and heights[2] - heights[0] >= 5 * plots.LINE

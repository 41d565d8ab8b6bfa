"""Every colour mode becomes RGB; every kind of damage is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferkit.data import images
from transferkit.data.images import BadImage, find_bad_images, open_image


def saved(path, image, **options):
    image.save(path, **options)
    return path


def png_header(width, height):
    """A PNG that only claims a size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_rgb_pixels_are_kept(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = open_image(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((8, 16, 3), dtype=np.uint8)
    upright[:4, :8] = (255, 0, 0)
    # how a camera held that way stores the picture: the inverse of the turn that EXIF asks for
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.array_equal(np.asarray(open_image(path)), upright)


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (8, 8), "red"), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_image(path).size == (8, 8)


def test_grey_is_repeated(tmp_path):
    image = open_image(saved(tmp_path / "a.png", Image.new("L", (2, 2), 77)))
    assert np.array_equal(np.asarray(image), np.full((2, 2, 3), 77))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    pixels = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    image = open_image(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk(tmp_path):
    image = open_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100))
    red, green, blue = np.asarray(image)[4, 4]
    assert red > 200 and green < 60 and blue < 60


def test_transparency_is_laid_over_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(open_image(saved(tmp_path / "a.png", image))).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 0, 0, 0])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path / "a.png", image, transparency=1)
    assert np.asarray(open_image(path)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_one_bit_and_grey_with_alpha(tmp_path):
    assert open_image(saved(tmp_path / "a.png", Image.new("1", (2, 2), 1))).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(saved(tmp_path / "b.png", Image.new("LA", (2, 2), (9, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_floating_point_pixels_are_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(BadImage, match="floating-point"):
        open_image(path)


def bad_files(folder):
    good = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(good, "JPEG")
    contents = {
        "empty.jpg": (b"", "empty"),
        "text.png": (b"this is not an image at all", "not an image"),
        "cut.jpg": (good.getvalue()[: len(good.getvalue()) // 2], "truncated"),
        "bomb.png": (png_header(60000, 60000), "decompression bomb"),
        "big.png": (png_header(12000, 10000), "decompression bomb"),
        "hollow.png": (png_header(20, 20), "truncated"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    return {name: reason for name, (_, reason) in contents.items()}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_kind_of_bad_file_has_its_reason(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(BadImage, match=reason) as caught:
            open_image(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.exit_code == 2


def test_missing_file(tmp_path):
    with pytest.raises(BadImage, match="does not exist"):
        open_image(tmp_path / "none.jpg")


def test_an_open_file_is_called_by_the_given_name():
    with pytest.raises(BadImage, match=r"data\.tar/a/1\.jpg.*empty"):
        open_image(BytesIO(b""), name="data.tar/a/1.jpg")


def test_bad_image_survives_pickling():
    bad = pickle.loads(pickle.dumps(BadImage("x.jpg", "it is torn", "ants")))
    assert (bad.path, bad.reason, bad.class_name) == ("x.jpg", "it is torn", "ants")
    assert "class 'ants'" in str(bad)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_find_bad_images_in_order(tmp_path, workers):
    reasons = bad_files(tmp_path)
    saved(tmp_path / "good.png", Image.new("RGB", (4, 4)))
    seen = []
    paths = sorted(tmp_path.iterdir())
    found = find_bad_images(paths, workers, lambda done, total: seen.append((done, total)))
    assert [os.path.basename(bad.path) for bad in found] == sorted(reasons)
    assert seen == [(7, 7)]


def test_the_cache_spares_a_second_look_and_notices_change(tmp_path, monkeypatch):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    path = saved(data / "a.png", Image.new("RGB", (4, 4)))
    (data / "b.png").write_bytes(b"")
    paths = [path, data / "b.png"]
    assert len(find_bad_images(paths, 1, cache=cache)) == 1
    looked = []
    check = images._check
    monkeypatch.setattr(images, "_check", lambda file: looked.append(file) or check(file))
    assert [bad.reason for bad in find_bad_images(paths, 1, cache=cache)] == ["the file is empty"]
    assert looked == []
    path.write_bytes(b"now it is broken")
    assert len(find_bad_images(paths, 1, cache=cache)) == 2
    assert looked == [str(path)]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 3}', "", json.dumps({"x": [1, 2]})])
def test_a_damaged_cache_is_ignored(tmp_path, content):
    (tmp_path / images.CACHE_FILE).write_text(content)
    (tmp_path / "b.png").write_bytes(b"")
    assert len(find_bad_images([tmp_path / "b.png"], 1, cache=tmp_path)) == 1

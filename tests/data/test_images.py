"""Every colour mode becomes RGB; every kind of damage is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferkit.data import images
from transferkit.data.images import (
    BadImage,
    Unfit,
    check_images,
    open_image,
    readable_formats,
    refuse_pixels,
)
from transferkit.data.walk import FORMATS


def bad_images(*given, **options):
    return [found for found in check_images(*given, **options) if isinstance(found, BadImage)]


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
def test_bad_images_in_order(tmp_path, workers):
    reasons = bad_files(tmp_path)
    saved(tmp_path / "good.png", Image.new("RGB", (4, 4)))
    seen = []
    paths = sorted(tmp_path.iterdir())
    found = bad_images(paths, workers, lambda done, total: seen.append((done, total)))
    assert [os.path.basename(bad.path) for bad in found] == sorted(reasons)
    assert seen == [(7, 7)]


def test_the_cache_spares_a_second_look_and_notices_change(tmp_path, monkeypatch):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    path = saved(data / "a.png", Image.new("RGB", (4, 4)))
    (data / "b.png").write_bytes(b"")
    paths = [path, data / "b.png"]
    assert len(bad_images(paths, 1, cache=cache)) == 1
    looked = []
    monkeypatch.setattr(images, "open_image", lambda file: looked.append(file) or open_image(file))
    assert [bad.reason for bad in bad_images(paths, 1, cache=cache)] == ["the file is empty"]
    assert looked == []
    path.write_bytes(b"now it is broken")
    assert len(bad_images(paths, 1, cache=cache)) == 2
    assert looked == [str(path)]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 3}', "", json.dumps({"x": [1, 2]})])
def test_a_damaged_cache_is_ignored(tmp_path, content):
    (tmp_path / images.CACHE_FILE).write_text(content)
    (tmp_path / "b.png").write_bytes(b"")
    assert len(bad_images([tmp_path / "b.png"], 1, cache=tmp_path)) == 1


# --- one rule for every door --------------------------------------------------------------------------------


def strip(path, length=1_500_000):
    Image.new("L", (1, length)).save(path)
    return path


def test_pixels_before_and_after_resizing():
    refuse_pixels((9459, 9459))
    for size, resized, limit in (((9460, 9460), None, None), ((10, 10), (9460, 9460), None), ((10, 10), None, 99)):
        with pytest.raises(Unfit, match="decompression bombs") as caught:
            refuse_pixels(size, resized, limit)
        assert caught.value.kind == "too_many_pixels"
    refuse_pixels((10, 10), (10, 10), 100)
    with pytest.raises(Unfit, match="no pixels"):
        refuse_pixels((0, 5))


def test_pillows_own_limit_may_be_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    refuse_pixels((10**6, 10**6))


def test_a_size_is_refused_before_a_pixel_is_decoded(tmp_path):
    path = strip(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:200])  # nothing to decode
    with pytest.raises(BadImage, match="too long"):
        open_image(path, fits=lambda size: (_ for _ in ()).throw(Unfit(f"{size} is too long")))


def test_only_listed_formats_are_read(tmp_path, monkeypatch):
    Image.init()
    picture = Image.new("RGB", (8, 8), "red")
    refused = []
    for name in sorted(set(Image.SAVE) & set(Image.OPEN) - {"WMF", "BUFR", "GRIB", "HDF5", "SPIDER"}):
        file = tmp_path / f"{name}.jpg"
        with suppress(OSError, KeyError, ValueError, NotImplementedError):
            picture.save(file, name)
            if name in readable_formats():
                assert open_image(file).size == (8, 8)
            elif name != "MPO":  # several JPEGs in a file
                refused.append(name)
                with pytest.raises(BadImage, match="not an image of a format"):
                    open_image(file)
    assert {"EPS", "ICO", "TGA", "PCX"} <= set(refused)


def test_the_reader_of_folders_takes_no_other_endings():
    Image.init()
    known = Image.registered_extensions()
    assert {ending: known.get(ending, name) for name, endings in FORMATS.items() for ending in endings} == {
        ending: name for name, endings in FORMATS.items() for ending in endings
    }


def test_the_first_picture_counts_and_no_other_is_decoded(tmp_path):
    first, second = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
    for name in ("GIF", "TIFF", "WEBP", "PNG"):
        data = BytesIO()
        first.save(data, name, save_all=True, append_images=[second] * 3)
        red, green, blue = open_image(BytesIO(data.getvalue())).getpixel((3, 2))
        assert red > 240 and green < 20 and blue < 20, name
        cut = data.getvalue()[:-20] if name != "WEBP" else data.getvalue()  # WebP is checked as a whole
        assert open_image(BytesIO(cut)).size == (6, 4)


def test_a_frame_larger_than_its_canvas():
    gif = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    gif += b"," + struct.pack("<HHHH", 0, 0, 60000, 60000) + b"\0\x02\x02\x4c\x01\x00;"
    with pytest.raises(BadImage, match=r"3,600,000,000 pixels, more than 89,478,485") as caught:
        open_image(BytesIO(gif), "a.gif")
    assert caught.value.kind == "too_many_pixels"


def tiff(tile, data):
    entries = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile), (325, len(data))]
    offset = 8 + 2 + 12 * (len(entries) + 1) + 4
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted([*entries, (324, offset)]))
    return b"II*\0" + struct.pack("<IH", 8, len(entries) + 1) + rows + bytes(4) + data


def test_a_tile_larger_than_its_image():
    assert open_image(BytesIO(tiff(16, zlib.compress(bytes(256))))).size == (16, 16)
    assert open_image(BytesIO(tiff(256, zlib.compress(bytes(65536))))).size == (16, 16)
    with pytest.raises(BadImage, match="its tiles have 30,000 x 30,000 pixels"):
        open_image(BytesIO(tiff(30000, zlib.compress(bytes(1000)))))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_texts_that_unpack_to_gigabytes(kind):
    packed = zlib.compress(bytes(5_000_000))
    content = b"k\0" + {b"zTXt": b"\0", b"iTXt": b"\1\0\0\0", b"iCCP": b"\0"}[kind] + packed
    header = png_header(2, 2)
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    with pytest.raises(BadImage):
        open_image(BytesIO(header[:33] + chunk + header[33:]))


def test_a_pipe_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadImage, match="it is no file"):
        open_image(tmp_path / "a.png")
    with pytest.raises(BadImage, match="it is a folder"):
        open_image(tmp_path)


def test_what_may_pass_is_not_remembered(tmp_path, monkeypatch):
    path, cache = saved(tmp_path / "a.png", Image.new("RGB", (4, 3))), tmp_path / "cache"

    def full(*_, **__):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(images.Image, "open", full)
        (bad,) = bad_images([path], 1, cache=cache)
    assert (bad.reason, bad.kind) == ("Too many open files", "unavailable")
    assert check_images([path], 1, cache=cache) == [(4, 3)]


def test_another_rule_looks_again(tmp_path, monkeypatch):
    path, cache = saved(tmp_path / "a.png", Image.new("RGB", (40, 30))), tmp_path / "cache"
    assert check_images([path], 1, cache=cache) == [(40, 30)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert [bad.kind for bad in bad_images([path], 1, cache=cache)] == ["too_many_pixels"]


@pytest.mark.filterwarnings("ignore")
def test_changed_bytes_are_an_image_or_bad(tmp_path):
    rng = random.Random(0)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8))
    for name in readable_formats():
        data = BytesIO()
        picture.save(data, name)
        for _ in range(60):
            changed = bytearray(data.getvalue())
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(min(len(changed), rng.choice([60, 10**6])))] = rng.randrange(256)
            end = rng.choice([len(changed), rng.randrange(len(changed))])
            with suppress(BadImage):
                assert open_image(BytesIO(bytes(changed[:end]))).mode == "RGB"

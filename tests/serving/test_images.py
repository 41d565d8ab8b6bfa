"""Which files are images the server takes: each mode as in training, and the right refusal for everything else."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from transferkit.data.images import open_image

from .conftest import encoded, picture

BASE = picture(7)


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def sixteen_bit():
    grey = BASE.convert("L")
    image = Image.new("I;16", grey.size)
    image.putdata([257 * value for value in grey.tobytes()])
    return image


def palette():
    image = BASE.convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    return encoded(image, transparency=3)


def several(form, **options):
    return encoded(BASE, form, save_all=True, append_images=[picture(8), picture(9)], **options)


GOOD = {
    "jpeg": encoded(BASE, "JPEG"),
    "progressive": encoded(BASE, "JPEG", progressive=True),
    "cmyk": encoded(BASE.convert("CMYK"), "JPEG"),
    "turned": encoded(BASE, "JPEG", exif=exif(6)),
    "turned png": encoded(BASE, exif=exif(3)),
    "several pictures of a camera": several("MPO"),
    "palette": palette(),
    "16 bit": encoded(sixteen_bit()),
    "grey": encoded(BASE.convert("L")),
    "black and white": encoded(BASE.convert("1")),
    "transparent": encoded(BASE.convert("LA")),
    "webp": encoded(BASE, "WEBP"),
    "lossless webp": encoded(BASE.convert("RGBA"), "WEBP", lossless=True),
    "bmp": encoded(BASE, "BMP"),
    "with something behind it": encoded(BASE, "JPEG") + b"PK\x03\x04 and an archive",
    "a video behind it": encoded(BASE, "JPEG") + np.random.default_rng(0).bytes(4_000_000),
    "gif": encoded(BASE, "GIF"),
    "tiff": encoded(BASE, "TIFF"),
    "pages": several("TIFF"),
    "animated webp": several("WEBP", duration=100),
    "animated png": several("PNG", duration=100),
    "animated gif": several("GIF", duration=100),
}


@pytest.mark.parametrize("kind", GOOD)
def test_every_mode_is_read_as_in_training(shared, loaded, kind):
    answer = shared.send(GOOD[kind])
    assert answer.status_code == 200, answer.text
    assert open_image(io.BytesIO(GOOD[kind])).size in (BASE.size, BASE.size[::-1])
    said = loaded(loaded.preprocess(open_image(io.BytesIO(GOOD[kind])))[None])
    (found,) = answer.json()["predictions"]
    assert found["score"] == pytest.approx(float(said.score), abs=1e-6)
    assert found["probability"] == pytest.approx(float(said.probabilities.max()), abs=1e-6)


def png_of(width, height):
    """A PNG whose header promises so much."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def jpeg_of(width, height):
    data = encoded(BASE, "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def many_scans(count):
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(BASE.resize((64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


TRUNCATED = encoded(picture(3, (400, 300)), "JPEG")
REFUSED = {
    "a bomb": (png_of(20000, 20000), 413, "too_many_pixels"),
    "a small bomb": (png_of(5000, 4000), 413, "too_many_pixels"),
    "a bomb as JPEG": (jpeg_of(60000, 60000), 413, "too_many_pixels"),
    "a strip that grows": (png_of(3, 90000), 413, "too_many_pixels"),
    "a thousand scans": (many_scans(1000), 413, "too_many_scans"),
    "truncated": (TRUNCATED[: len(TRUNCATED) // 2], 422, "unreadable"),
    "truncated png": (encoded(picture(3, (200, 200)))[:-200], 422, "unreadable"),
    "truncated head": (TRUNCATED[:15], 422, "unreadable"),
    "truncated webp": (encoded(picture(3, (200, 200)), "WEBP")[:60], 422, "unreadable"),
    "empty": (b"", 422, "unreadable"),
    "ico": (encoded(BASE, "ICO"), 415, "format"),
    "text": (b"no image at all", 415, "format"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "format"),
    "a jpeg that calls itself gif": (b"GIF89a" + encoded(BASE, "JPEG"), 413, "too_many_pixels"),
    "a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", 415, "format"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_image_is_refused(shared, kind):
    data, status, reason = REFUSED[kind]
    before = shared.metric("transferkit_rejects_total", reason=reason) or 0
    answer = shared.send(encoded(BASE), data)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert '"1.png"' in answer.json()["detail"]
    assert shared.metric("transferkit_rejects_total", reason=reason) == before + 1


def test_a_name_says_nothing_about_a_file(shared):
    files = [("images", ("a.txt", encoded(BASE, "JPEG"), "text/plain"))]
    assert shared.client.post("/predict", files=files).status_code == 200
    files = [("images", ("a.jpg", b"GIF89a", "image/jpeg"))]
    assert shared.client.post("/predict", files=files).status_code == 422

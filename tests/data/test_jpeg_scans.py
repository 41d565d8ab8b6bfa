"""Scans are counted by the JPEG's own markers, against what was put together by hand."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from transferkit.data.images import jpeg_scans

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))


def jpeg(**options):
    file = io.BytesIO()
    PICTURE.save(file, "JPEG", **options)
    return file.getvalue()


def segment(marker, content):
    return b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content


def test_plain_and_progressive():
    assert jpeg_scans(io.BytesIO(jpeg()), 50) == 1
    progressive = jpeg(progressive=True)
    assert jpeg_scans(io.BytesIO(progressive), 50) == progressive.count(b"\xff\xda") > 5
    assert jpeg_scans(io.BytesIO(jpeg(progressive=True, restart_marker_rows=1)), 50) > 5


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_markers_that_are_none_are_not_counted(options):
    data = jpeg(**options)
    expected = jpeg_scans(io.BytesIO(data), 50)
    scans = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 500
    thumbnail = data[:2] + segment(0xE1, scans[:60000]) + segment(0xFE, scans[:1000]) + data[2:]
    behind = data + scans + jpeg(progressive=True) * 10
    fill = data[:2] + b"\xff" * 9 + data[2:]  # a marker may have any number of fill bytes in front
    for changed in (thumbnail, behind, fill):
        assert jpeg_scans(io.BytesIO(changed), 50) == expected


def test_counting_stops_above_the_limit():
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 1000 + data[-2:]
    file = io.BytesIO(bomb)
    assert jpeg_scans(file, 50) == 51 and file.tell() < len(bomb)
    plain = jpeg(subsampling=0)
    start = plain.index(b"\xff\xda")
    one = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x00"
    assert jpeg_scans(io.BytesIO(plain[:start] + one * 70 + b"\xff\xd9"), 50) == 51  # not progressive, one by one


def test_any_bytes_have_an_end():
    rng, data = random.Random(0), jpeg(progressive=True)
    for _ in range(300):
        changed = bytearray(data[: rng.randrange(3, len(data))])
        for _ in range(rng.randrange(8)):
            changed[rng.randrange(len(changed))] = rng.choice([0, 0xD8, 0xD9, 0xDA, 0xC2, 0xFF])
        assert 0 <= jpeg_scans(io.BytesIO(bytes(changed)), 50) <= 51

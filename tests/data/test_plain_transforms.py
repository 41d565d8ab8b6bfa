"""The transform without torch is the transform, to the last bit, and refuses what that refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from transferkit.data.images import BadImage, Unfit
from transferkit.data.plain_transforms import FILTERS, PlainPreprocess
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocess, Preprocessing

SIZES = [(32, 32), (100, 37), (7, 90), (1, 50), (64, 65), (37, 36), (300, 200)]


def preprocessing(size=(32, 32), mode="center", interpolation="bicubic", share=0.875, channels=3):
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    return Preprocessing(size, mean, std, share, mode, interpolation, channels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.875, 1.0, 0.0, 0.95])
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_equal_to_the_last_bit(mode, size, share, channels):
    rng = np.random.default_rng(0)
    for interpolation in FILTERS:
        given = preprocessing(size, mode, interpolation, share, channels)
        eager, plain = Preprocess(given), PlainPreprocess(given)
        for width, height in SIZES:
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            made = plain(image)
            assert made.dtype == np.float32 and made.flags.c_contiguous
            assert np.array_equal(made, eager(image).numpy()), (interpolation, width, height)


@pytest.mark.parametrize("form", ["L", "RGBA", "P", "CMYK", "I;16", "turned"])
def test_modes_and_orientation(form, tmp_path):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    if form == "turned":
        exif = image.getexif()
        exif[274] = 6
        image.save(tmp_path / "a.jpg", exif=exif)
        image = Image.open(tmp_path / "a.jpg")
    elif form == "I;16":
        image = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (40, 50), dtype=np.uint16))
    else:
        image = image.convert(form)
    given = preprocessing()
    assert np.array_equal(PlainPreprocess(given)(image), Preprocess(given)(image).numpy())


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_both_refuse_the_same_sizes(mode, size):
    given = preprocessing(size, mode)

    def refused(preprocess, image):
        try:
            preprocess.refuse(image, 2_000_000)
        except Unfit as why:
            return str(why)
        return None

    seen = set()
    for image in [(0, 5), (1, 200_000), (200_000, 1), (2000, 1001), (500, 400), (5, 0), (1, 1)]:
        said = refused(Preprocess(given), image)
        assert said == refused(PlainPreprocess(given), image), image
        seen.add(said is None)
        if image == (1, 200_000):
            assert (said is not None) is (mode == "center")  # of few pixels many
    assert seen == {True, False}


def test_a_strip_that_would_become_huge_is_refused():
    strip = Image.new("RGB", (1, 100_000))
    for preprocess in (PlainPreprocess(preprocessing((33, 47))), Preprocess(preprocessing((33, 47)))):
        with pytest.raises(BadImage, match="resized for the model"):
            preprocess(strip)


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match='interpolation "random"'):
        PlainPreprocess(preprocessing(interpolation="random"))
    with pytest.raises(InputError, match="1 or 3 channels"):
        PlainPreprocess(Preprocessing((8, 8), (0.5,) * 4, (0.5,) * 4, 1.0, "center", "bilinear", 4))


def test_neither_torch_nor_timm_is_loaded():
    code = "import sys, transferkit.data.plain_transforms; print(sorted({'torch', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

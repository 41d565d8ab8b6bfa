"""Pictures whose light, sharpness, content or shape is far from the others': statistics of pixels and sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit_data_audit.outliers import MAD

SIDE = 128  # the longer side of what is measured; smaller pictures are taken as they are
BINS = 64
GREY = (0.299, 0.587, 0.114)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """When a picture is named for a statistic: far below or above the others, and no further in than `least`.

    floor  the smallest spread that counts, in the statistic's unit: nearly equal values make nothing odd
    below  whether small values are meant; None for both
    surely a value that is named whatever the others have
    least  a value that must be passed as well, so that a set of dark pictures has no bright ones among the middling
    """

    statistic: str
    floor: float
    below: bool | None
    least: float | None = None
    surely: float | None = None


RULES = {
    "dark": Rule("brightness", 6.0, True, 64.0),
    "bright": Rule("brightness", 6.0, False, 192.0),
    "blurred": Rule("sharpness", 0.3, True),
    "plain": Rule("information", 0.15, True, 3.0, surely=0.5),
    "odd size": Rule("size", 0.15, None),
    "odd shape": Rule("shape", 0.06, None),
}
FACTOR = 5.0


def pixel_statistics(picture: Image.Image) -> dict[str, float]:
    """An RGB picture -> `brightness`, the mean of its grey in 0..255; `sharpness`, the log of the variance of its
    Laplacian (4 neighbours; Pech-Pacheco et al. 2000); `information`, the entropy of its grey in 64 bins, in bits.

    Of the picture reduced so that its longer side has at most 128 pixels.
    """
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float64)[..., :3] @ np.array(GREY)
    padded = np.pad(grey, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    counts = np.bincount((grey.ravel() * BINS / 256).astype(int), minlength=BINS)
    shares = counts[counts > 0] / grey.size
    return {
        "brightness": float(grey.mean()),
        "sharpness": float(np.log(laplacian.var() + 1e-2)),
        "information": float(-(shares * np.log2(shares)).sum()),
    }


def size_statistics(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> dict[str, Floats]:
    """(n,) sizes in pixels -> `size`, the log of the root of the area, and `shape`, the log of width over height."""
    wide, high = np.log(np.maximum(widths, 1)), np.log(np.maximum(heights, 1))
    return {"size": (wide + high) / 2, "shape": wide - high}


def unusual(values: Floats, rule: Rule) -> tuple[NDArray[np.bool_], Floats]:
    """(n,) values -> (n,) which are named, and (n,) how many robust standard deviations each is off, with its sign.

    z = (x − median) / max(1.4826 · MAD, floor), with the MAD of the values on x's own side of the median, so that a
    long tail on one side is no oddity by itself (the double MAD); named from |z| ≥ 5 on.
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return np.zeros(0, dtype=bool), x
    off = x - np.median(x)
    spread = np.empty(len(x))
    for side, reach in ((off < 0, off[off <= 0]), (off >= 0, off[off >= 0])):
        spread[side] = max(MAD * float(np.median(np.abs(reach))), rule.floor)
    z = off / spread
    far = np.abs(z) >= FACTOR if rule.below is None else (z <= -FACTOR if rule.below else z >= FACTOR)
    if rule.least is not None:
        far &= x <= rule.least if rule.below else x >= rule.least
    if rule.surely is not None:
        far |= x <= rule.surely if rule.below else x >= rule.surely
    return far, z

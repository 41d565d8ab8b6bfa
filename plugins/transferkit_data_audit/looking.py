"""What is kept of every picture: a small version, statistics of its pixels, its size and that of its file."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from transferkit.analysis import AnalysisSession
from transferkit.data import Samples
from transferkit_data_audit.unusual import pixel_statistics

SMALL = 32
VERSION = 1


@dataclass(frozen=True)
class Looks:
    """Of n pictures."""

    small: NDArray[np.uint8]
    """(n, 32, 32, 3) the whole picture, whatever its shape."""
    brightness: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    information: NDArray[np.float64]
    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    bytes: NDArray[np.int64]
    """(n,) of the file; −1 where it is not known."""

    @classmethod
    def joined(cls, every: list[Looks]) -> Looks:
        """One behind the other."""
        return cls(**{one.name: np.concatenate([getattr(looks, one.name) for looks in every]) for one in fields(cls)})

    def file_facts(self) -> NDArray[np.float64]:
        """(n, 2 or 3) logs of width and height, and of the bytes where they are known of every file."""
        facts = [np.log(np.maximum(self.widths, 1)), np.log(np.maximum(self.heights, 1))]
        if (self.bytes > 0).all():
            facts.append(np.log(self.bytes))
        return np.stack(facts, axis=1)


def look(session: AnalysisSession, split: str) -> Looks:
    """Each picture of a split of the target data as training is given it before augmentation, from the cache if known.

    That is the picture in the file; where a corruption is planted, what the model gets. Raises BadImage.
    """
    samples = session.samples("target", split)
    facts = {"what": "data audit: pictures", "version": VERSION, "images": session.data_digest("target", split)}

    def read() -> dict[str, torch.Tensor]:
        small, numbers = np.empty((len(samples), SMALL, SMALL, 3), np.uint8), np.empty((len(samples), 5))
        with session.progress(len(samples), f"looking at {len(samples)} {split} images") as bar:
            for index in range(len(samples)):
                original = samples.original(index)
                seen = samples.picture(index) if samples.corruptions else original
                small[index] = np.asarray(seen.resize((SMALL, SMALL), Image.Resampling.BOX))
                numbers[index] = *pixel_statistics(seen).values(), *original.size
                bar.advance(1)
        return {"small": torch.from_numpy(small), "numbers": torch.from_numpy(numbers)}

    found = session.cached(facts, read, shared=True)
    numbers = found["numbers"].numpy()
    brightness, sharpness, information, widths, heights = numbers.T
    return Looks(
        found["small"].numpy(),
        brightness,
        sharpness,
        information,
        widths.astype(np.int64),
        heights.astype(np.int64),
        np.array(_bytes(samples), np.int64),
    )


def _bytes(samples: Samples) -> list[int]:
    files = samples.files
    return [-1] * len(samples) if files is None else [_size(file) for file in files]


def _size(file: str) -> int:
    with suppress(OSError):
        return os.stat(file).st_size
    return -1

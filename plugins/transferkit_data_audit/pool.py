"""All images of the target's splits, one behind the other: features, labels, and what is kept of the pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.analysis import AnalysisSession
from transferkit.data import BadImage, Samples, same_files
from transferkit.errors import InputError
from transferkit_data_audit.looking import Looks, look
from transferkit_data_audit.options import Options

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pool:
    """n images."""

    samples: dict[str, Samples]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: list[str]
    splits: list[str]
    """(n,) of each."""
    ids: list[str]
    looks: Looks
    role: str
    """Of the model whose features these are."""
    same: list[tuple[int, int]]
    """(place, place in train) of files with the very bytes of a training file."""

    def __len__(self) -> int:
        return len(self.labels)

    def class_of(self, place: int) -> str:
        """The name of an image's label."""
        return self.classes[int(self.labels[place])]

    def called(self, place: int) -> str:
        """train/ants/7.jpg."""
        split, name = self.splits[place], self.ids[place]
        return name if name.startswith(f"{split}/") else f"{split}/{name}"

    def picture(self, place: int) -> Image.Image:
        """What training is given before augmentation. Raises BadImage."""
        split, first = self.splits[place], self.splits.index(self.splits[place])
        samples = self.samples[split]
        return samples.picture(place - first) if samples.corruptions else samples.original(place - first)

    def numbers(self) -> Counter[str]:
        """{split: images}."""
        return Counter(self.splits)


def pooled(session: AnalysisSession, options: Options) -> Pool:
    """The splits that there are. Raises InputError where the model that is asked for is not there, and BadImage."""
    role = options.features
    if role == "auto":
        role = "source" if session.has("source") else "target"
    samples = {split: found for split in SPLITS if (found := _samples(session, split)) is not None}
    if not samples:
        raise InputError("there are no target images")
    passes = {split: session.predictions(role, "target", split) for split in samples}
    starts = dict(zip(samples, np.cumsum([0, *map(len, samples.values())]).tolist(), strict=False))
    return Pool(
        samples=samples,
        features=np.concatenate([found.features.numpy() for found in passes.values()]),
        labels=np.concatenate([found.planted_labels for found in samples.values()]),
        classes=list(next(iter(samples.values())).classes),
        splits=[split for split, found in samples.items() for _ in range(len(found))],
        ids=[one for found in samples.values() for one in found.ids],
        looks=Looks.joined([look(session, split) for split in samples]),
        role=role,
        same=[(starts[split] + place, starts["train"] + train) for split, place, train in same_files(samples)],
    )


def _samples(session: AnalysisSession, split: str) -> Samples | None:
    """None where there is no such split."""
    try:
        found = session.samples("target", split)
    except BadImage:
        raise
    except InputError:
        return None
    return found if len(found) else None

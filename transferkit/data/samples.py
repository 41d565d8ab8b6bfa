"""What the loader reads: chosen images of a source through a pipeline, with planted corruptions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from transferkit.data.randomness import numpy_rng, preserved, seed_all
from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.data.sources import Source
    from transferkit.data.transforms import Pipeline
    from transferkit.hooks import Call, RunPlugins


@dataclass
class _ImageOffer:
    """What a corruption may ask for."""

    image: Image.Image
    label: int
    rng: np.random.Generator


@dataclass
class _SelectionOffer:
    labels: NDArray[np.int64]
    classes: list[str]
    split: str
    rng: np.random.Generator


@dataclass(frozen=True)
class Corruption:
    """A change planted in images: the plugin's `corrupt`, and its `select` if it has one."""

    name: str
    corrupt: Call
    select: Call | None = None

    def chosen(
        self, labels: NDArray[np.int64], classes: list[str], split: str, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """(n,) which samples it changes: those it selects, or all."""
        if self.select is None:
            return np.ones(len(labels), dtype=bool)
        selected = np.asarray(list(self.select(_SelectionOffer(labels.copy(), list(classes), split, rng))))
        mask = np.zeros(len(labels), dtype=bool)
        if selected.size == 0:
            return mask
        if selected.dtype.kind not in "iu" or selected.min() < 0 or selected.max() >= len(labels):
            raise InputError(f"{self.select.plugin} selects indices outside 0..{len(labels) - 1}")
        mask[selected] = True
        return mask

    def __call__(self, image: Image.Image, label: int, rng: np.random.Generator) -> tuple[Image.Image, int]:
        """The changed image and its label."""
        result = self.corrupt(_ImageOffer(image.copy(), label, rng))
        changed, new_label = result if isinstance(result, tuple) else (result, label)
        if not isinstance(changed, Image.Image) or changed.size != image.size:
            raise InputError(f"{self.corrupt.plugin}: corrupt must return an image of the size it was given")
        return changed.convert("RGB"), int(new_label)


def corruptions(plugins: RunPlugins, split: str, splits: Mapping[str, Sequence[str]] | None = None) -> list[Corruption]:
    """The corruptions among the plugins, in recipe order; `splits` says by plugin name where each applies."""
    selects = {id(call.plugin): call for call in plugins.calls("select")}
    return [
        Corruption(call.plugin.name, call, selects.get(id(call.plugin)))
        for call in plugins.calls("corrupt")
        if splits is None or split in splits.get(call.plugin.name, (split,))
    ]


class Samples(Dataset[tuple[Tensor, int, int]]):
    """Chosen images of a source. Sample i is image `chosen[i]` of the source.

    The augmentation of a sample depends on (seed, name, split, epoch, its index in the source) alone: not on
    the batch, the worker or the order. A corruption does not depend on the epoch either.
    """

    def __init__(
        self,
        name: str,
        split: str,
        source: Source,
        pipeline: Pipeline,
        *,
        seed: int,
        indices: NDArray[np.int64] | None = None,
        corruptions: Sequence[Corruption] = (),
        evaluation: Pipeline | None = None,
    ) -> None:
        self.name, self.split, self.source, self.seed = name, split, source, seed
        self.pipeline = pipeline
        self.evaluation = evaluation if evaluation is not None else pipeline
        self.chosen: NDArray[np.int64] = np.arange(len(source)) if indices is None else np.asarray(indices)
        self.classes = source.classes
        self.labels: NDArray[np.int64] = source.labels[self.chosen]
        self.corruptions = tuple(corruptions)
        self._corrupted = [
            c.chosen(self.labels, self.classes, split, numpy_rng(seed, c.name, name, split, "select"))
            for c in self.corruptions
        ]
        self._random = pipeline.random or bool(self.corruptions)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, int]:
        return self.get(*key)

    @property
    def ids(self) -> list[str]:
        """The stable id of every sample."""
        return [self.source.ids[index] for index in self.chosen]

    def get(self, index: int, epoch: int) -> tuple[Tensor, int, int]:
        """(image (C, H, W), label, index), leaving the global random state as it was. Raises BadImage."""
        if not self._random:
            return self._get(index, epoch, self.pipeline)
        with preserved():
            return self._get(index, epoch, self.pipeline)

    def batch(self, indices: NDArray[np.int64], epochs: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) images and (n,) labels; the same as `get` for each, saving the random state once."""
        if not self._random:
            return self._stack(indices, epochs, self.pipeline)
        with preserved():
            return self._stack(indices, epochs, self.pipeline)

    def evaluation_batches(
        self, batch_size: int, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples in order through the deterministic evaluation pipeline: (images, labels) per batch.

        Raises ValueError when the samples were made without one.
        """
        if self.evaluation.random:
            raise ValueError(f"the samples of {self.name} ({self.split}) have no evaluation pipeline")
        for start in range(0, len(self), batch_size):
            indices = np.arange(start, min(start + batch_size, len(self)))
            with preserved():
                images, labels = self._stack(indices, np.zeros_like(indices), self.evaluation)
            yield images.to(device), labels.to(device)

    def picture(self, index: int) -> Image.Image:
        """The RGB picture of the model's input size that evaluation turns into a tensor. Raises BadImage."""
        with preserved():
            return self._picture(index, 0, self.evaluation)[0]

    @property
    def planted(self) -> dict[str, NDArray[np.bool_]]:
        """{corruption: (n,) which samples it changes}: the ground truth of a planted corruption."""
        return {c.name: mask.copy() for c, mask in zip(self.corruptions, self._corrupted, strict=True)}

    def fingerprint(self) -> str:
        """A hash of the source, the choice of samples and the corruptions: the same data, the same hash."""
        planted = [(c.name, _options(c.corrupt.plugin.instance)) for c in self.corruptions]
        facts = [self.name, self.split, self.seed if planted else 0, self.source.fingerprint(), planted]
        digest = blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.chosen, dtype="<i8").tobytes())
        return digest.hexdigest()

    def _stack(
        self, indices: NDArray[np.int64], epochs: NDArray[np.int64], pipeline: Pipeline
    ) -> tuple[Tensor, Tensor]:
        items = [self._get(i, e, pipeline) for i, e in zip(indices.tolist(), epochs.tolist(), strict=True)]
        return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])

    def _get(self, index: int, epoch: int, pipeline: Pipeline) -> tuple[Tensor, int, int]:
        image, label = self._picture(index, epoch, pipeline)
        return pipeline.final(image), label, index

    def _picture(self, index: int, epoch: int, pipeline: Pipeline) -> tuple[Image.Image, int]:
        origin = int(self.chosen[index])
        image, label = self.source.image(origin), int(self.labels[index])
        if self._random:
            seed_all(self.seed, self.name, self.split, epoch, origin)
        image = pipeline.geometric(image)
        for corruption, changes in zip(self.corruptions, self._corrupted, strict=True):
            if changes[index]:
                rng = numpy_rng(self.seed, corruption.name, self.name, self.split, origin)
                image, label = corruption(image, label, rng)
        return image, label


def _options(instance: Any) -> Any:
    return asdict(instance) if is_dataclass(instance) and not isinstance(instance, type) else repr(type(instance))

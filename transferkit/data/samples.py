"""What the loader reads: chosen images of a source through a pipeline, with planted corruptions."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from transferkit.data.images import BadImage, Size, Unfit
from transferkit.data.planting import Corruption, Key
from transferkit.data.randomness import preserved, seed_all

if TYPE_CHECKING:
    from transferkit.data.sources import Source
    from transferkit.data.transforms import Pipeline


New = Callable[..., Tensor]
Each = Callable[[int], None]


def _nothing(_: int) -> None:
    """Nobody waits for the images."""


class Samples(Dataset[tuple[Tensor, int, int]]):
    """Chosen images of a source. Sample i is image `chosen[i]` of the source.

    The augmentation of a sample depends on (seed, name, split, epoch, its index in the source) alone: not on
    the batch, the worker or the order. A corruption depends on (seed, its name, split, index in the source): not on
    the epoch, nor on the name of the data set. Corruptions must draw from the generator that they are given.

    `labels` are those of the source, `planted_labels` those that go with the images of `get` and of every batch:
    they differ where a corruption changes labels. `clean()` has images without corruptions, with `labels`.
    """

    _planted_labels: NDArray[np.int64] | None = None
    left_out: Sequence[BadImage] = ()
    """What `on_bad_image: skip` leaves out because of its size, which the evaluation pipeline refuses."""

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
        self._leave_out()
        self.classes = source.classes
        self.labels: NDArray[np.int64] = source.labels[self.chosen]
        self.corruptions = tuple(corruptions)
        self._corrupted = [c.chosen(self.labels, self.classes, split, seed) for c in self.corruptions]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, int]:
        return self.get(*key)

    @property
    def random(self) -> bool:
        """Whether reading seeds and uses the global generators."""
        return self.pipeline.random

    @property
    def ids(self) -> list[str]:
        """The stable id of every sample."""
        return [self.source.ids[index] for index in self.chosen]

    def get(self, index: int, epoch: int) -> tuple[Tensor, int, int]:
        """(image (C, H, W), label, index), leaving the global random state as it was. Raises BadImage.

        The label is the one that the corruptions leave, see `planted_labels`.
        """
        with preserved() if self.random else nullcontext():
            return self._get(index, epoch, self.pipeline)

    def batch(self, indices: NDArray[np.int64], epochs: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) images and (n,) labels; the same as `get` for each, saving the random state once."""
        with preserved() if self.random else nullcontext():
            images, labels = self.read(indices, epochs)
        return self.finish(images), labels

    def read(
        self, indices: NDArray[np.int64], epochs: NDArray[np.int64], new: New = torch.empty, each: Each = _nothing
    ) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) images as they are kept until they are used (see `finish`), and (n,) labels.

        `new(shape, dtype=…)` gives the memory for the images; `each(index)` is called before each. Seeds the global
        generators. Raises BadImage.
        """
        return self._read(indices, epochs, self.pipeline, new, each)

    def finish(self, images: Tensor) -> Tensor:
        """What `read` gave -> normalised floats, on the same device."""
        return self.pipeline.finish(images)

    def evaluation_batches(
        self, batch_size: int, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples in order through the deterministic evaluation pipeline: (images, labels) per batch.

        The labels are those that the corruptions leave, see `planted_labels`.
        Raises ValueError when the samples were made without one.
        """
        if self.evaluation.random:
            raise ValueError(f"the samples of {self.name} ({self.split}) have no evaluation pipeline")
        for start in range(0, len(self), batch_size):
            indices = np.arange(start, min(start + batch_size, len(self)))
            with preserved():
                kept, labels = self._read(indices, np.zeros_like(indices), self.evaluation)
            yield self.evaluation.finish(kept).to(device), labels.to(device)

    def picture(self, index: int) -> Image.Image:
        """The RGB picture of the model's input size that evaluation turns into a tensor. Raises BadImage."""
        with preserved():
            return self._picture(index, 0, self.evaluation)[0]

    def subset(self, indices: NDArray[np.int64]) -> Samples:
        """Some of these samples, by their index here, each as it is here: corruptions choose from the whole."""
        part = copy.copy(self)
        part.chosen, part.labels = self.chosen[indices], self.labels[indices]
        part._corrupted = [mask[indices] for mask in self._corrupted]
        part._planted_labels = None if self._planted_labels is None else self._planted_labels[indices]
        return part

    def clean(self) -> Samples:
        """The same samples with nothing planted in them."""
        plain = copy.copy(self)
        plain.corruptions, plain._corrupted, plain._planted_labels = (), [], None
        return plain

    @property
    def planted(self) -> dict[str, NDArray[np.bool_]]:
        """{corruption: (n,) which samples it changes}: the ground truth of a planted corruption."""
        return {c.name: mask.copy() for c, mask in zip(self.corruptions, self._corrupted, strict=True)}

    @property
    def planted_labels(self) -> NDArray[np.int64]:
        """(n,) the label that training and evaluation are given with each image: what corruptions make of `labels`.

        As in the manifest it is the one that `corrupt` gives a grey image. Raises what the plugins raise, and BadImage.
        """
        if self._planted_labels is None:
            labels, changed = self.labels.copy(), self._changed
            size = self._picture_size(changed)
            for index in changed.tolist():
                for corruption, changes in zip(self.corruptions, self._corrupted, strict=True):
                    if changes[index]:
                        key = self._key(corruption, int(self.chosen[index]))
                        labels[index] = corruption.label(size, int(labels[index]), self.classes, key)
            self._planted_labels = labels
        return self._planted_labels.copy()

    @property
    def _changed(self) -> NDArray[np.int64]:
        """(m,) the samples that some corruption changes."""
        return np.flatnonzero(np.any([*self._corrupted, np.zeros(len(self), bool)], axis=0))

    def _picture_size(self, changed: NDArray[np.int64]) -> tuple[int, int]:
        """(width, height) of the pictures that corruptions get: the first of these images is decoded for it."""
        if not len(changed):
            return 0, 0
        first = int(self.chosen[changed[0]])
        with preserved():
            return self._shaped(first, self.evaluation, self.source.image(first)).size

    def manifest_rows(self) -> Iterator[dict[str, Any]]:
        """A row per sample and corruption that changes it, in the order of samples, then of the recipe.

        Its columns: `dataset`, `split`, `id`, `class` (as the corruption finds it: an earlier one may have changed
        it), `corruption`, `new_class` (empty where the class stays), and what the plugin's `manifest` adds. Nothing
        but the first image is decoded. Raises what the plugins raise, and BadImage.
        """
        changed = self._changed
        size = self._picture_size(changed)
        for index in changed.tolist():
            yield from self._rows_of(index, size)

    def _leave_out(self) -> None:
        sizes = self.source.sizes
        if sizes is None or not len(self.chosen):
            return
        different, which = np.unique(sizes[self.chosen], axis=0, return_inverse=True)
        reasons = [self._refusal((width, height)) for width, height in different.tolist()]
        why = [reasons[number] for number in which.reshape(-1).tolist()]
        refused = [(int(index), one) for index, one in zip(self.chosen, why, strict=True) if one is not None]
        self.left_out = [self.source.bad(*one) for one in refused]
        self.chosen = self.chosen[[one is None for one in why]]

    def _refusal(self, size: Size) -> Unfit | None:
        if not all(size):  # it could not be read, which is somebody else's to say
            return None
        try:
            self.evaluation.refuse(size)
        except Unfit as why:
            return why
        return None

    def _shaped(self, origin: int, pipeline: Pipeline, given: Image.Image) -> Image.Image:
        """The picture of the model's input size. Raises BadImage for one that the pipeline refuses."""
        try:
            return pipeline.geometric(given)
        except Unfit as why:
            raise self.source.bad(origin, why) from None

    def _rows_of(self, index: int, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
        origin, label = int(self.chosen[index]), int(self.labels[index])
        for corruption, changes in zip(self.corruptions, self._corrupted, strict=True):
            if changes[index]:
                columns, new = corruption.row(size, label, self.classes, self._key(corruption, origin))
                yield {
                    "dataset": self.name,
                    "split": self.split,
                    "id": self.source.ids[origin],
                    "class": self.classes[label],
                    "corruption": corruption.name,
                    "new_class": self.classes[new] if new != label else "",
                    **columns,
                }
                label = new

    def fingerprint(self) -> str:
        """A hash of the source, the choice of samples and what is planted: the same data, the same hash."""
        planted = [corruption.facts() for corruption in self.corruptions]
        facts = [self.name, self.split, self.seed if planted else 0, self.source.fingerprint(), planted]
        digest = blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.chosen, dtype="<i8").tobytes())
        for mask in self._corrupted:
            digest.update(np.packbits(mask).tobytes())
        return digest.hexdigest()

    def _read(
        self,
        indices: NDArray[np.int64],
        epochs: NDArray[np.int64],
        pipeline: Pipeline,
        new: New = torch.empty,
        each: Each = _nothing,
    ) -> tuple[Tensor, Tensor]:
        images, labels = None, []
        for place, (index, epoch) in enumerate(zip(indices.tolist(), epochs.tolist(), strict=True)):
            each(index)
            picture, label = self._picture(index, epoch, pipeline)
            if images is None:
                images = new((len(indices), *pipeline.shape(picture)), dtype=pipeline.kept)
            pipeline.keep(picture, images[place])
            labels.append(label)
        assert images is not None
        return images, torch.tensor(labels)

    def _get(self, index: int, epoch: int, pipeline: Pipeline) -> tuple[Tensor, int, int]:
        image, label = self._picture(index, epoch, pipeline)
        return pipeline.final(image), label, index

    def _picture(self, index: int, epoch: int, pipeline: Pipeline) -> tuple[Image.Image, int]:
        origin = int(self.chosen[index])
        given, label = self.source.image(origin), int(self.labels[index])
        if pipeline.random:
            seed_all(self.seed, self.name, self.split, epoch, origin)
        image = self._shaped(origin, pipeline, given)
        for corruption, changes in zip(self.corruptions, self._corrupted, strict=True):
            if changes[index]:
                if image is given:  # which the source may hand out again
                    image = image.copy()
                image, label = corruption(image, label, self.classes, self._key(corruption, origin))
        return image, label

    def _key(self, corruption: Corruption, origin: int) -> Key:
        return (self.seed, corruption.name, self.split, origin)

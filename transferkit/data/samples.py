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

from transferkit.data.augmenting import Augmenting
from transferkit.data.images import BadImage, Size, Unfit
from transferkit.data.planting import Corruption, Key
from transferkit.data.randomness import preserved, seed_all

if TYPE_CHECKING:
    from transferkit.data.contents import Source
    from transferkit.data.transforms import Pipeline


New = Callable[..., Tensor]
Each = Callable[[int], None]


class Samples(Dataset[tuple[Tensor, int, int]]):
    """Chosen images of a source. Sample i is image `chosen[i]` of the source.

    The augmentation of a sample depends on (seed, name, split, epoch, its index in the source) alone: not on
    the batch, the worker or the order; one that is drawn again within an epoch comes with another number for the epoch
    (`batches.VISIT`). `augment` are plugins' changes of what `get` and batches show; evaluation never sees them. They
    come before what is planted, which stays as the manifest says. A corruption depends on (seed, its name, split, index
    in the source): not on the epoch, nor on the name of the data set. Corruptions and augmentations must draw from the
    generator that they are given.

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
        augment: Sequence[Augmenting] = (),
    ) -> None:
        self.name, self.split, self.source, self.seed = name, split, source, seed
        self.pipeline = pipeline
        self.evaluation = evaluation if evaluation is not None else pipeline
        self.augment = tuple(augment)
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
            picture, label = self._picture(index, epoch, self.pipeline, self.augment)
            return self.pipeline.final(picture), label, index

    def batch(self, indices: NDArray[np.int64], epochs: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) images and (n,) labels; the same as `get` for each, saving the random state once."""
        with preserved() if self.random else nullcontext():
            images, labels = self.read(indices, epochs)
        return self.finish(images), labels

    def read(
        self, indices: NDArray[np.int64], epochs: NDArray[np.int64], new: New = torch.empty, each: Each | None = None
    ) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) images as they are kept until they are used (see `finish`), and (n,) labels.

        `new(shape, dtype=…)` gives the memory for the images; `each(index)` is called before each. Seeds the global
        generators. Raises BadImage.
        """
        return self._read(indices, epochs, self.pipeline, new, each, self.augment)

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

    def original(self, index: int) -> Image.Image:
        """The RGB picture as its file has it: upright, nothing resized, cropped or planted. Raises BadImage."""
        return self.source.image(int(self.chosen[index])).copy()  # the source may hand its own out again

    @property
    def files(self) -> list[str] | None:
        """The file of every sample; None where they are no files of their own."""
        paths = self.source.contents.paths
        return None if paths is None else [paths[int(self.source.kept[index])] for index in self.chosen]

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
    def groups(self) -> NDArray[np.int64]:
        """(n,) what group robustness speaks of: 2 * label + (whether something is planted) where there are corruptions,
        else the label.

        Planted is what a corruption's `select` chose; those without one change every image and tell none apart, unless
        there are no others. Labels are those without what corruptions change.
        """
        if not self.corruptions:
            return np.asarray(self.labels, dtype=np.int64)
        pairs = list(zip(self.corruptions, self._corrupted, strict=True))
        chosen = [mask for one, mask in pairs if one.select is not None] or [mask for _, mask in pairs]
        return np.asarray(2 * self.labels + np.any(chosen, axis=0), dtype=np.int64)

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """(n,) how often each is drawn in training, in proportion, as the data set says it; None: alike."""
        return None if self.source.weights is None else self.source.weights[self.chosen]

    @property
    def planted_labels(self) -> NDArray[np.int64]:
        """(n,) the label that training and evaluation are given with each image: what corruptions make of `labels`.

        As in the manifest it is the one that `corrupt` gives a grey image. Raises what the plugins raise, and BadImage.
        """
        if self._planted_labels is None:
            labels, changed = self.labels.copy(), self._changed
            size = self._picture_size(changed)
            for index in changed.tolist():
                for corruption, key in self._changing(index):
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
            label = int(self.labels[index])
            for corruption, key in self._changing(index):
                columns, new = corruption.row(size, label, self.classes, key)
                yield {
                    "dataset": self.name,
                    "split": self.split,
                    "id": self.source.ids[self.chosen[index]],
                    "class": self.classes[label],
                    "corruption": corruption.name,
                    "new_class": self.classes[new] if new != label else "",
                    **columns,
                }
                label = new

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
            shaped: Image.Image = pipeline.geometric(given)
            return shaped
        except Unfit as why:
            raise self.source.bad(origin, why) from None

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
        each: Each | None = None,
        augment: Sequence[Augmenting] = (),
    ) -> tuple[Tensor, Tensor]:
        images, labels = None, []
        for place, (index, epoch) in enumerate(zip(indices.tolist(), epochs.tolist(), strict=True)):
            if each is not None:
                each(index)
            picture, label = self._picture(index, epoch, pipeline, augment)
            if images is None:
                images = new((len(indices), *pipeline.shape(picture)), dtype=pipeline.kept)
            pipeline.keep(picture, images[place])
            labels.append(label)
        assert images is not None
        return images, torch.tensor(labels)

    def _picture(
        self, index: int, epoch: int, pipeline: Pipeline, augment: Sequence[Augmenting] = ()
    ) -> tuple[Image.Image, int]:
        origin = int(self.chosen[index])
        given, label = self.source.image(origin), int(self.labels[index])
        if pipeline.random:
            seed_all(self.seed, self.name, self.split, epoch, origin)
        image = self._shaped(origin, pipeline, given)
        for change in augment:
            if image is given:  # which the source may hand out again
                image = image.copy()
            image = change(image, label, self.classes, (self.seed, change.name, self.name, self.split, epoch, origin))
        for corruption, key in self._changing(index):
            if image is given:  # which the source may hand out again
                image = image.copy()
            image, label = corruption(image, label, self.classes, key)
        return image, label

    def _changing(self, index: int) -> list[tuple[Corruption, Key]]:
        """The corruptions that change a sample, each with the key of its random numbers."""
        found = zip(self.corruptions, self._corrupted, strict=True)
        return [(one, (self.seed, one.name, self.split, int(self.chosen[index]))) for one, mask in found if mask[index]]

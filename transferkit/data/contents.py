"""What a reader found for one split of a data set, and the images of a split that are kept of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.data.images import BadImage, Unfit, check_images, decode_all
from transferkit.errors import InputError
from transferkit.words.text import one_line

CHECKING_THREADS = 8
MACHINE = {os.strerror(number) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE)}
"""Why a file cannot be opened that is no reason to leave it out."""


@dataclass
class Contents:
    """What a reader found for one split, labelled by its own class names.

    classes  the class names
    labels   (n,) places in `classes`
    ids      what tells the images of the split apart, whatever the machine: their paths within the data set, say
    paths    their files, if they are files: for messages, and to tell data that changed
    """

    classes: list[str]
    labels: NDArray[np.int64]
    ids: list[str]
    read: Callable[[int], Image.Image]
    """The upright RGB image at an index. Raises BadImage. It travels to worker processes, so it is no closure."""
    content: Callable[[], bytes] = bytes
    """What distinguishes the images besides ids and labels: file sizes or hashes. It travels, too. Left out by a
    plugin's reader that gives `paths`, it is the files' sizes."""
    paths: list[str] | None = None
    strict: bool = False
    """Whether a class without images is a mistake: an empty class folder."""
    weights: NDArray[np.float64] | None = None
    """(n,) how often each is drawn in training, in proportion; None: alike."""
    groups: list[str] | None = None
    """(n,) what each belongs to, such as a patient or a video, all of which is on one side of a split that is made."""

    def __post_init__(self) -> None:
        # from here on a name can be shown, compared and written: file systems allow bytes that are no text
        self.classes, self.ids = [one_line(name) for name in self.classes], [one_line(name) for name in self.ids]


@dataclass
class Source:
    """The images of one split of a data set; labels are indices into `classes`."""

    classes: list[str]
    labels: NDArray[np.int64]
    ids: list[str]
    contents: Contents
    kept: NDArray[np.int64]
    bad_images: list[BadImage] = field(default_factory=list)
    """What `on_bad_image: skip` left out."""
    skipping: bool = False
    """Whether what cannot be read is left out already."""
    sizes: NDArray[np.int64] | None = None
    """(n, 2) width and height, where `on_bad_image: skip` has read every image."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """(n,) how often each image is drawn in training, in proportion; None: alike."""
        return None if self.contents.weights is None else self.contents.weights[self.kept]

    @property
    def groups(self) -> list[str] | None:
        """(n,) what each image belongs to: see `Contents`. `Samples.groups` are others, of class and planted mark."""
        return None if self.contents.groups is None else [self.contents.groups[index] for index in self.kept]

    @property
    def own_labels(self) -> list[str]:
        """(n,) the class of each image by the reader's own name, whatever a class list calls it."""
        return [self.contents.classes[self.contents.labels[index]] for index in self.kept]

    def image(self, index: int) -> Image.Image:
        """The image, RGB and upright. Raises BadImage with its path, class and reason."""
        try:
            return self.contents.read(int(self.kept[index]))
        except BadImage as bad:
            raise self._later(self.bad(index, bad)) from None

    def _later(self, bad: BadImage) -> BadImage:
        """What is said of an image that was there, and perhaps read, when the data set was opened."""
        reason, advice = bad.reason, bad.advice
        if bad.kind == "unavailable":
            if self.contents.paths is not None and not os.path.lexists(bad.path):
                reason = "the file has vanished since the data set was opened"
            advice = "This is no fault of the image: see to the disk and to who changes the data, then resume"
        elif self.skipping:
            advice = "It could be read when the data set was opened: the file has changed since, or the disk fails"
        return BadImage(bad.path, reason, bad.class_name, bad.kind, advice)

    def bad(self, index: int, why: BadImage | Unfit) -> BadImage:
        """The refusal of an image with its path, or id, and class."""
        paths, label = self.contents.paths, self.classes[self.labels[index]]
        if isinstance(why, BadImage):
            return BadImage(why.path, why.reason, label, why.kind)
        return BadImage(str(paths[self.kept[index]]) if paths else self.ids[index], str(why), label, why.kind)

    def fingerprint(self) -> str:
        """A hash of class list, ids, labels and contents; never of file times or of where the files lie."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = blake2b(digest_size=16)
        for names in (self.classes, self.ids):
            digest.update("\0".join([str(len(names)), *names]).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        if (weights := self.weights) is not None:
            digest.update(b"weights" + weights.astype("<f8").tobytes())
        if (groups := self.groups) is not None:
            digest.update("\0".join(["groups", *groups]).encode())
        digest.update(self.contents.content())
        return digest.hexdigest()

    def find_bad(self, workers: int = CHECKING_THREADS, cache: Path | None = None) -> dict[int, BadImage]:
        """Decode every image: {index: why it cannot be read}. `cache` is for files, see `check_images`.

        What is asked afterwards knows the `sizes` of the others.
        """
        paths = self.contents.paths
        if paths is None:
            found = decode_all(self.contents.read, self.kept.tolist(), workers)
        else:
            found = check_images([paths[index] for index in self.kept], workers, cache=cache)
        self.sizes = np.array([(0, 0) if isinstance(one, BadImage) else one for one in found], np.int64).reshape(-1, 2)
        refused = {index: self.bad(index, one) for index, one in enumerate(found) if isinstance(one, BadImage)}
        passing = next((one for one in refused.values() if one.reason in MACHINE), None)
        if passing is not None:
            what = f"cannot read the image {passing.path}: {passing.reason}"
            raise InputError(f"{what}. That is no fault of the image: try again")
        return refused


def only(contents: Contents, kept: Sequence[str]) -> Contents:
    """The contents without the images of other classes; labels are places in `kept`."""
    place = {name: index for index, name in enumerate(kept)}
    new = np.array([place.get(name, -1) for name in contents.classes], dtype=np.int64)
    labels = new[contents.labels]
    chosen = np.flatnonzero(labels >= 0)
    return replace(
        contents,
        classes=list(kept),
        labels=labels[chosen],
        ids=[contents.ids[index] for index in chosen],
        read=partial(_read_chosen, contents.read, chosen),
        content=partial(_content_chosen, contents.content, chosen),
        paths=None if contents.paths is None else [contents.paths[index] for index in chosen],
        weights=None if contents.weights is None else contents.weights[chosen],
        groups=None if contents.groups is None else [contents.groups[index] for index in chosen],
    )


def _read_chosen(read: Callable[[int], Image.Image], chosen: NDArray[np.int64], index: int) -> Image.Image:
    return read(int(chosen[index]))


def _content_chosen(content: Callable[[], bytes], chosen: NDArray[np.int64]) -> bytes:
    return content() + np.ascontiguousarray(chosen, dtype="<i8").tobytes()

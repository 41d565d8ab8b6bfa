"""Which images of a data set a stage trains on, and what is planted in them: said here and nowhere else.

The training opens its data through `StageImages`, and so does whatever looks at a stage's images afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from transferkit.data.augmenting import Augmenting
from transferkit.data.contents import Source
from transferkit.data.group_shares import fold_of_groups, groups_held_out, groups_kept, members_of
from transferkit.data.images import BadImage
from transferkit.data.planting import Planters, planted_in
from transferkit.data.randomness import numpy_rng
from transferkit.data.samples import Samples
from transferkit.data.shares import fold_sizes, held_out, rounded_share
from transferkit.data.sources import open_split
from transferkit.data.tables import TableSamples, TableSource, strata
from transferkit.data.transforms import Pipeline
from transferkit.errors import InputError, Problem
from transferkit.recipe import schema
from transferkit.system.atomic import cache_folder
from transferkit.words.suggest import did_you_mean

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Images of one split: a source, and which of its images are used."""

    source: Source
    indices: Indices
    """(n,) sorted indices into the source: corruptions choose among these."""
    unreadable: Mapping[int, BadImage] = field(default_factory=dict)
    """Images of the source that are left out after the choice, by their index."""

    @property
    def readable(self) -> Indices:
        """(m,) the indices of the images that are looked at."""
        kept = [index for index in self.indices.tolist() if index not in self.unreadable]
        return np.array(kept, dtype=np.int64) if self.unreadable else self.indices

    @property
    def left_out(self) -> list[BadImage]:
        """What could not be read, before or after the choice."""
        wanted = set(self.indices.tolist())
        return [*self.source.bad_images, *(bad for index, bad in self.unreadable.items() if index in wanted)]


@dataclass(eq=False)
class StageImages:
    """Every data set of a recipe as one stage sees it.

    Of the stage's own data set, train is what it trains on (without what is held out, and the fraction of the rest),
    and val is carved from train where there is none. Other data sets are whole, as the recipe describes them. A
    corruption chooses among the images of the part alone. Without a stage there are only other data sets.
    `skip_bad` leaves unreadable images out after all choices: they do not change what is said of the others.
    With `fold`, (which from 0, of how many), val is that fold of train whether there is a val or not.
    `trained_on` are fingerprints of the sources of its own splits when it trained; `warn` is told of others.
    """

    stage: schema.Stage | None
    datasets: Mapping[str, schema.Dataset]
    seed: int
    corruptions: Callable[[str], Planters | None] = lambda name: None
    skip_bad: bool = False
    trained_on: Mapping[str, str] = field(default_factory=dict)
    warn: Callable[[str], None] = lambda text: None
    fold: tuple[int, int] | None = None
    _sources: dict[tuple[str, str], Source | None] = field(default_factory=dict, repr=False)

    @cached_property
    def train(self) -> Source:
        """The whole train split of the stage's own data set. Raises InputError where there is none."""
        assert self.stage is not None
        train = self._whole(self.stage.dataset, "train")
        if train is None:
            raise InputError(f'the data set "{self.stage.dataset}" of stage "{self.stage.name}" has no train split')
        return train

    @property
    def carved(self) -> bool:
        """Whether what the stage validates on is a part of train: there is no val split, or there are folds."""
        assert self.stage is not None
        return self.fold is not None or self._whole(self.stage.dataset, "val") is None

    def part(
        self, name: str, split: str, classes: list[str] | None = None, aliases: Mapping[str, str] | None = None
    ) -> Part | None:
        """A split as the stage sees it, or None where there is none; labelled in `classes` as `open_split` does it.

        Raises InputError for data that cannot be opened.
        """
        if split not in schema.SPLITS:
            raise InputError(
                Problem(f"datasets.{name}", f'there is no split "{split}"', did_you_mean(split, schema.SPLITS))
            )
        own = self.stage is not None and name == self.stage.dataset
        opened = partial(open_split, name, self.datasets, classes=classes, aliases=aliases, cache=cache_folder())
        source = self._own(split) if own else opened(split)
        indices = None
        if own and split != "test":
            indices = self._chosen[split]
            source = source if len(indices) else None
        if source is None:
            return None
        if own and classes is not None and source.classes != classes:
            source = opened("train" if split == "val" and self.carved else split)
            assert source is not None
        indices = np.arange(len(source), dtype=np.int64) if indices is None else indices
        part = Part(source, indices, source.find_bad(cache=cache_folder()) if self.skip_bad else {})
        if not len(part.readable):
            raise InputError(Problem(f"datasets.{name} ({split})", "no image of this split can be read"))
        return part

    def samples(
        self,
        name: str,
        split: str,
        part: Part,
        pipeline: Pipeline,
        evaluation: Pipeline,
        augment: Sequence[Augmenting] = (),
    ) -> Samples:
        """The images of a part with the data set's corruptions; `pipeline`, then `augment`, is what training sees."""
        if isinstance(part.source, TableSource):
            return TableSamples(name, split, part.source, seed=self.seed, indices=part.indices)
        samples = Samples(
            name,
            split,
            part.source,
            pipeline,
            seed=self.seed,
            indices=part.indices,
            corruptions=planted_in(name, self.datasets, self.corruptions, split),
            evaluation=evaluation,
            augment=augment,
        )
        if not part.unreadable:
            return samples
        return samples.subset(np.flatnonzero(np.isin(part.indices, part.readable)))

    def _own(self, split: str) -> Source | None:
        """The source that a split of the stage's own data set is taken from."""
        assert self.stage is not None
        if split == "train" or (split == "val" and self.carved):
            return self.train
        return self._whole(self.stage.dataset, split)

    def _whole(self, name: str, split: str) -> Source | None:
        if (name, split) not in self._sources:
            classes = None if split == "train" else self.train.classes
            source = open_split(name, self.datasets, split, classes, cache=cache_folder())
            known = self.trained_on.get(split)
            if known is not None and source is not None and source.fingerprint() != known:
                stage = self.stage.name if self.stage is not None else ""
                self.warn(
                    f'the {split} images of "{name}" changed since stage "{stage}" was trained: which of them it saw '
                    "is worked out anew and may be wrong"
                )
            self._sources[name, split] = source
        return self._sources[name, split]

    @cached_property
    def _chosen(self) -> dict[str, Indices]:
        """{split: indices} of what the stage trains on, and of what it validates on."""
        assert self.stage is not None
        stage, train = self.stage, self.train
        given = self._whole(stage.dataset, "val") if self.fold is None else None
        indices = np.arange(len(train), dtype=np.int64)
        validation = np.arange(0 if given is None else len(given), dtype=np.int64)
        groups = train.groups
        if self.fold is not None:
            number, count = self.fold
            held = fold_of_each(train, count, self.seed) == number
            indices, validation = np.flatnonzero(~held), np.flatnonzero(held)
        elif given is None and stage.validation > 0 and groups is None:
            indices, validation = carve_validation(strata(train), stage.validation, self.seed)
        elif given is None and stage.validation > 0:
            indices, validation = self._carved_by_group(train, stage.validation)
        if stage.fraction < 1 and groups is None:
            chosen = per_class_fraction(strata(train)[indices], stage.fraction, self.seed, train.classes)
            indices = indices[chosen]
        elif stage.fraction < 1:
            indices = self._kept_by_group(train, indices, stage.fraction)
        return {"train": indices, "val": validation}

    def _carved_by_group(self, train: Source, share: float) -> tuple[Indices, Indices]:
        """Sorted indices (train, val), every group on one side. Raises InputError where none can be held out."""
        groups = train.groups or []
        chosen = groups_held_out(members_of(zip(groups, train.own_labels, strict=True)), share, self.seed)
        if not chosen:
            raise InputError("no group can be held out: each has all images of some class; set validation: 0")
        held = np.array([group in chosen for group in groups])
        return np.flatnonzero(~held), np.flatnonzero(held)

    def _kept_by_group(self, train: Source, indices: Indices, fraction: float) -> Indices:
        """Those of the indices whose groups are kept. Raises InputError where a class would be left with none."""
        groups, labels = train.groups or [], train.own_labels
        kept = groups_kept(members_of((groups[index], labels[index]) for index in indices), fraction, self.seed)
        chosen = np.array([index for index in indices if groups[index] in kept], dtype=np.int64)
        gone = {labels[index] for index in indices} - {labels[index] for index in chosen}
        if gone:
            raise InputError(f'fraction {fraction:g} leaves no group with images of the class "{min(gone)}"')
        return chosen


# -- a fraction per class, and a validation split carved from train ---------------------------------------------------


def per_class_fraction(
    labels: Sequence[int] | Indices, fraction: float, seed: int, classes: Sequence[str] | None = None
) -> Indices:
    """Sorted indices of floor(fraction * n_c + 1/2) images of every class c.

    For one seed a smaller fraction is a subset of a larger one. Raises InputError, naming the class (by its
    name where `classes` is given), when a class that has images would be left with none.
    """
    kept = []
    for label, members in _by_class(labels):
        count = rounded_share(fraction, len(members))
        if count == 0:
            name = repr(classes[label]) if classes is not None else str(label)
            raise InputError(
                f"fraction {fraction:g} leaves no image of the class {name}, which has {len(members)}; "
                f"at least {0.5 / len(members):.3g} is needed"
            )
        kept.append(numpy_rng(seed, "fraction", label).permutation(members)[:count])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)


def fold_of_each(train: Source, folds: int, seed: int) -> Indices:
    """(n,) the fold of every image, from 0: each class, of whole groups where there are any, in all folds alike."""
    labels, groups = train.own_labels, train.groups
    if groups is not None:
        chosen = fold_of_groups(members_of(zip(groups, labels, strict=True)), folds, seed)
        return np.array([chosen[group] for group in groups], dtype=np.int64)
    array, found = np.array(labels), np.empty(len(labels), np.int64)
    for label, sizes in fold_sizes(Counter(labels), folds).items():
        members = numpy_rng(seed, "folds", label).permutation(np.flatnonzero(array == label))
        found[members] = np.repeat(np.arange(folds), sizes)
    return found


def carve_validation(labels: Sequence[int] | Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Sorted indices (train, val) with floor(share * n_c + 1/2) images of every class in val.

    A class with two images or more keeps at least one on either side; a single image stays in train.
    A share of 0 carves nothing.
    """
    chosen = [
        numpy_rng(seed, "validation", label).permutation(members)[: held_out(share, len(members))]
        for label, members in _by_class(labels)
    ]
    val = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), val, assume_unique=True)
    return train, val


def _by_class(labels: Sequence[int] | Indices) -> list[tuple[int, Indices]]:
    array = np.asarray(labels)
    return [(int(label), np.flatnonzero(array == label)) for label in np.unique(array)]

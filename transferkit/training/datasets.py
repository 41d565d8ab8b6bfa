"""A stage's data: one class list taken from train, a validation split, a fraction, corruptions.

`StageImages` is the one place that says which images of a data set a stage trains on and what is planted in them. The
training opens its data through it, and so does whatever looks at a stage's images afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.atomic import write_bytes
from transferkit.data.images import BadImage
from transferkit.data.planting import planted_in
from transferkit.data.samples import Samples
from transferkit.data.sources import Source, open_split, refuse_one_class
from transferkit.data.subsets import carve_validation, per_class_fraction
from transferkit.data.tables import TableSamples, TableSource, refuse_other_kind, strata
from transferkit.data.transforms import Pipeline, transforms
from transferkit.errors import InputError, Problem
from transferkit.folder import cache_folder
from transferkit.hooks import RunPlugins
from transferkit.recipe import schema
from transferkit.report import Table, csv_bytes

if TYPE_CHECKING:
    from transferkit.model import Preprocessing
    from transferkit.training.stage_plan import StagePlan


@dataclass(frozen=True)
class Part:
    """Images of one split: a source, and which of its images are used."""

    source: Source
    indices: NDArray[np.int64]
    """(n,) sorted indices into the source: corruptions choose among these."""
    unreadable: Mapping[int, BadImage] = field(default_factory=dict)
    """Images of the source that are left out after the choice, by their index."""

    @property
    def readable(self) -> NDArray[np.int64]:
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
    `trained_on` are fingerprints of the sources of its own splits when it trained; `warn` is told of others.
    """

    stage: schema.Stage | None
    datasets: Mapping[str, schema.Dataset]
    seed: int
    corruptions: Callable[[str], RunPlugins | None] = lambda name: None
    skip_bad: bool = False
    trained_on: Mapping[str, str] = field(default_factory=dict)
    warn: Callable[[str], None] = lambda text: None
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
        """Whether the stage's own data set comes without a val split."""
        assert self.stage is not None
        return self._whole(self.stage.dataset, "val") is None

    def part(
        self, name: str, split: str, classes: list[str] | None = None, aliases: Mapping[str, str] | None = None
    ) -> Part | None:
        """A split as the stage sees it, or None where there is none; labelled in `classes` as `open_split` does it.

        Raises InputError for data that cannot be opened.
        """
        own = self.stage is not None and name == self.stage.dataset
        source = self._own(split) if own else open_split(name, self.datasets, split, classes, **_how(aliases))
        indices = None
        if own and split != "test":
            indices = self._chosen[split]
            source = source if len(indices) else None
        if source is None:
            return None
        if own and classes is not None and source.classes != classes:
            where = "train" if split == "val" and self.carved else split
            source = open_split(name, self.datasets, where, classes, **_how(aliases))
            assert source is not None
        indices = np.arange(len(source), dtype=np.int64) if indices is None else indices
        part = Part(source, indices, source.find_bad(cache=cache_folder()) if self.skip_bad else {})
        if not len(part.readable):
            raise InputError(Problem(f"datasets.{name} ({split})", "no image of this split can be read"))
        return part

    def samples(self, name: str, split: str, part: Part, pipeline: Pipeline, evaluation: Pipeline) -> Samples:
        """The images of a part with the data set's corruptions; `pipeline` is what training sees of them."""
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
    def _chosen(self) -> dict[str, NDArray[np.int64]]:
        """{split: indices} of what the stage trains on, and of what it validates on."""
        assert self.stage is not None
        stage, train = self.stage, self.train
        given = self._whole(stage.dataset, "val")
        indices = np.arange(len(train), dtype=np.int64)
        validation = np.arange(0 if given is None else len(given), dtype=np.int64)
        if given is None and stage.validation > 0:
            indices, validation = carve_validation(strata(train), stage.validation, self.seed)
        if stage.fraction < 1:
            chosen = per_class_fraction(strata(train)[indices], stage.fraction, self.seed, train.classes)
            indices = indices[chosen]
        return {"train": indices, "val": validation}


def _how(aliases: Mapping[str, str] | None) -> dict[str, Any]:
    return {"aliases": aliases, "cache": cache_folder()}


@dataclass
class StageSources:
    """Images before the model's transform is known."""

    images: StageImages
    train: Part
    validation: Part | None
    others: dict[str, tuple[str, str, Part]]  # {name: (data set, split, part)}

    @property
    def classes(self) -> list[str]:
        """The class list, taken from train."""
        return self.train.source.classes


@dataclass
class StageData:
    """What a stage trains and evaluates on."""

    train: Samples
    validation: Samples | None
    others: dict[str, Samples]

    @property
    def classes(self) -> list[str]:
        """The class list, taken from train."""
        return self.train.classes


def open_sources(plan: StagePlan) -> StageSources:
    """Open every split the stage uses. A validation split is carved from train where there is none; never from test."""
    stage = plan.stage
    images = StageImages(stage, plan.recipe.datasets, plan.seed, plan.corruptions.get)
    train = images.part(stage.dataset, "train")
    assert train is not None
    refuse_one_class(train.source, stage.dataset, plan.recipe.datasets)
    validation, test = images.part(stage.dataset, "val"), images.part(stage.dataset, "test")
    others = {} if test is None else {"test": (stage.dataset, "test", test)}
    for name in stage.evaluate:
        others[name] = (name, *_evaluation_split(name, images))
        refuse_other_kind(train.source, stage.dataset, others[name][2].source, name)
    return StageSources(images, train, validation, others)


def _report_bad_images(plan: StagePlan, samples: Sequence[Samples | None]) -> None:
    """What `on_bad_image: skip` left out, by name: in a warning, and in bad_images.csv of the stage."""
    found = [one for one in samples if one is not None]
    sources = {id(one.source): one.source for one in found}.values()
    bad = [image for one in sources for image in one.bad_images] + [image for one in found for image in one.left_out]
    if bad:
        path = plan.out / "bad_images.csv"
        rows = [[image.path, image.class_name, image.reason] for image in bad]
        write_bytes(path, csv_bytes(Table(["path", "class", "reason"], rows)))
        plan.display.warn(f"{len(bad)} images cannot be read and are left out; they are listed in {path}")


def _evaluation_split(name: str, images: StageImages) -> tuple[str, Part]:
    assert images.stage is not None
    for split in ("val", "test"):
        if split == "val" and name == images.stage.dataset and images.carved:
            continue  # what is held out is looked at as val already
        part = images.part(name, split, images.train.classes)
        if part is not None:
            return split, part
    raise InputError(f'evaluate: the data set "{name}" has neither a val nor a test split')


def fingerprints(train: Samples, validation: Samples | None) -> dict[str, str]:
    """{split: hash of the images it is taken from}, to tell later whether they are the same; val if not carved."""
    sources = {"train": train.source}
    if validation is not None and validation.source is not train.source:
        sources["val"] = validation.source
    return {split: source.fingerprint() for split, source in sources.items()}


def stage_data(plan: StagePlan, sources: StageSources, preprocessing: Preprocessing) -> StageData:
    """The samples of every split, with the model's own transforms."""
    name = plan.stage.dataset
    given = {"train": (name, "train", sources.train), **sources.others}
    if sources.validation is not None:
        given["val"] = (name, "val", sources.validation)
    made = {key: _samples(plan, sources.images, preprocessing, *one) for key, one in given.items()}
    _report_bad_images(plan, list(made.values()))
    return StageData(made["train"], made.get("val"), {key: made[key] for key in sources.others})


def open_samples(
    plan: StagePlan, images: StageImages, dataset: str, split: str, *, preprocessing: Preprocessing
) -> Samples:
    """Any split of any data set of the recipe as the stage sees it, for plugins. Train splits are augmented.

    Raises InputError.
    """
    part = images.part(dataset, split)
    if part is None:
        raise InputError(f'the data set "{dataset}" has no {split} split')
    return _samples(plan, images, preprocessing, dataset, split, part)


def _samples(
    plan: StagePlan, images: StageImages, preprocessing: Preprocessing, dataset: str, split: str, part: Part
) -> Samples:
    plain = transforms(preprocessing, None)
    pipeline = transforms(preprocessing, plan.stage.augmentation) if split == "train" else plain
    return images.samples(dataset, split, part, pipeline, plain)

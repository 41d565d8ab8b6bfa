"""A stage's data: one class list taken from train, a validation split, a fraction, corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transferkit.atomic import write_bytes
from transferkit.data.planting import Corruption, planted_in
from transferkit.data.samples import Samples
from transferkit.data.sources import Source, open_split, refuse_one_class
from transferkit.data.subsets import carve_validation, per_class_fraction
from transferkit.data.tables import TableSamples, TableSource, refuse_other_kind, strata
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.folder import cache_folder
from transferkit.recipe import schema
from transferkit.report import Table, csv_bytes

if TYPE_CHECKING:
    from transferkit.model import Preprocessing
    from transferkit.training.stage_plan import StagePlan


@dataclass
class StageSources:
    """Images before the model's transform is known: sources and chosen indices."""

    train: Source
    train_indices: NDArray[np.int64]
    validation: tuple[Source, NDArray[np.int64] | None] | None
    carved: bool
    others: dict[str, tuple[str, str, Source]]  # {name: (data set, split, source)}

    @property
    def classes(self) -> list[str]:
        """The class list, taken from train."""
        return self.train.classes


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
    stage, datasets = plan.stage, plan.recipe.datasets
    train = open_split(stage.dataset, datasets, "train", cache=cache_folder())
    if train is None:
        raise InputError(f'the data set "{stage.dataset}" of stage "{stage.name}" has no train split')
    refuse_one_class(train, stage.dataset, datasets)
    indices = np.arange(len(train), dtype=np.int64)
    validation: tuple[Source, NDArray[np.int64] | None] | None = None
    given = open_split(stage.dataset, datasets, "val", train.classes, cache=cache_folder())
    if given is not None:
        validation = (given, None)
    elif stage.validation > 0:
        indices, held_out = carve_validation(strata(train), stage.validation, plan.seed)
        validation = (train, held_out) if len(held_out) else None
    if stage.fraction < 1:
        chosen = per_class_fraction(strata(train)[indices], stage.fraction, plan.seed, train.classes)
        indices = indices[chosen]
    others = {}
    test = open_split(stage.dataset, datasets, "test", train.classes, cache=cache_folder())
    if test is not None:
        others["test"] = (stage.dataset, "test", test)
    for name in stage.evaluate:
        others[name] = (name, *_evaluation_split(name, datasets, train.classes))
        refuse_other_kind(train, stage.dataset, others[name][2], name)
    return StageSources(train, indices, validation, given is None, others)


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


def _evaluation_split(name: str, datasets: dict[str, schema.Dataset], classes: list[str]) -> tuple[str, Source]:
    for split in ("val", "test"):
        source = open_split(name, datasets, split, classes)
        if source is not None:
            return split, source
    raise InputError(f'evaluate: the data set "{name}" has neither a val nor a test split')


def stage_data(plan: StagePlan, sources: StageSources, preprocessing: Preprocessing) -> StageData:
    """The samples of every split, with the model's own transforms."""
    name = plan.stage.dataset
    augmented = transforms(preprocessing, plan.stage.augmentation)
    plain = transforms(preprocessing, None)

    def samples(dataset: str, split: str, source: Source, indices: NDArray[np.int64] | None) -> Samples:
        if isinstance(source, TableSource):
            return TableSamples(dataset, split, source, seed=plan.seed, indices=indices)
        return Samples(
            dataset,
            split,
            source,
            augmented if split == "train" else plain,
            seed=plan.seed,
            indices=indices,
            corruptions=_corruptions(plan, dataset, split),
            evaluation=plain,
        )

    validation = None
    if sources.validation is not None:
        validation = samples(name, "val", *sources.validation)
    train = samples(name, "train", sources.train, sources.train_indices)
    others = {key: samples(dataset, split, source, None) for key, (dataset, split, source) in sources.others.items()}
    _report_bad_images(plan, [train, validation, *others.values()])
    return StageData(train, validation, others)


def open_samples(plan: StagePlan, dataset: str, split: str, *, preprocessing: Preprocessing) -> Samples:
    """Any split of any data set of the recipe, for plugins. Train splits are augmented. Raises InputError."""
    source = open_split(dataset, plan.recipe.datasets, split)
    if source is None:
        raise InputError(f'the data set "{dataset}" has no {split} split')
    if isinstance(source, TableSource):
        return TableSamples(dataset, split, source, seed=plan.seed)
    plain = transforms(preprocessing, None)
    pipeline = transforms(preprocessing, plan.stage.augmentation) if split == "train" else plain
    planted = _corruptions(plan, dataset, split)
    return Samples(dataset, split, source, pipeline, seed=plan.seed, corruptions=planted, evaluation=plain)


def _corruptions(plan: StagePlan, dataset: str, split: str) -> Sequence[Corruption]:
    return planted_in(dataset, plan.recipe.datasets, plan.corruptions.get, split)

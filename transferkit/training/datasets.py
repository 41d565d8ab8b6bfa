"""A stage's data, as it trains and evaluates on them: first opened, then as samples with the model's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferkit.data.augmenting import augmentations
from transferkit.data.parts import Part, StageImages
from transferkit.data.samples import Samples
from transferkit.data.sources import refuse_one_class
from transferkit.data.tables import refuse_other_kind
from transferkit.data.transforms import transforms
from transferkit.errors import InputError
from transferkit.recipe.folding import fold_of
from transferkit.report import Table, csv_bytes
from transferkit.system.atomic import write_bytes

if TYPE_CHECKING:
    from transferkit.model.preprocessing import Preprocessing
    from transferkit.training.stage_plan import StagePlan


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


def open_sources(plan: StagePlan) -> StageSources:
    """Open every split the stage uses. A validation split is carved from train where there is none; never from test."""
    stage = plan.stage
    fold = fold_of(plan.recipe, stage)
    images = StageImages(stage, plan.recipe.datasets, plan.seed, plan.corruptions.get, fold=fold)
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
    if split != "train":
        return images.samples(dataset, split, part, plain, plain)
    pipeline, augment = transforms(preprocessing, plan.stage.augmentation), augmentations(plan.plugins)
    return images.samples(dataset, split, part, pipeline, plain, augment)

"""How many images and steps a stage has, counted without opening one: for checks before anything starts, and plans."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transferkit.data import folders, image_tables, shards
from transferkit.data.archives import open_archive
from transferkit.data.group_shares import Members, fold_of_groups, groups_held_out, groups_kept, members_of, per_class
from transferkit.data.grouping import groups_of
from transferkit.data.naming import kept_classes
from transferkit.data.shares import fold_sizes, held_out, rounded_share
from transferkit.data.survey import Copies, Survey, copies, copies_line, left_out_line, survey, warnings
from transferkit.recipe.folding import fold_of
from transferkit.recipe.lineage import resolved
from transferkit.recipe.schema import Dataset, Recipe, Stage
from transferkit.words.formats import some

Counts = dict[str, dict[str, int]]


def class_counts(name: str, datasets: Mapping[str, Dataset | None]) -> Counts | None:
    """{split: {class: images}} of the classes that a data set keeps, or None when it takes a library to know.

    Raises InputError when the folder or file cannot be read, or has no such splits or classes.
    """
    counts = every_class(name, datasets)
    return None if counts is None else kept_counts(counts, name, datasets)


def every_class(name: str, datasets: Mapping[str, Dataset | None]) -> Counts | None:
    """The same of all classes that there are, whatever `classes` says."""
    dataset = resolved(name, datasets)
    if dataset is None:
        return None
    if (there := surveyed(dataset)) is not None:
        return {split: {name: len(files) for name, files in found.items()} for split, found in there.splits.items()}
    if dataset.npz is not None:
        from transferkit.data.file_sources import npz_labels

        classes, labels = npz_labels(dataset)
        counted = {split: Counter(one.tolist()) for split, one in labels.items()}
        return {split: {classes[label]: n for label, n in sorted(found.items())} for split, found in counted.items()}
    if dataset.world is not None:
        from transferkit.data.world_classes import CLASSES

        kinds, world = CLASSES[dataset.world.kind], dataset.world
        return {"train": dict.fromkeys(kinds, world.train), "val": dict.fromkeys(kinds, world.val)}
    if dataset.synthetic is not None:
        return {"train": {"y": dataset.synthetic.train}, "val": {"y": dataset.synthetic.val}}
    if dataset.reader is not None:
        from transferkit.data.readers import counts

        return counts(dataset)
    return None


def kept_counts(counts: Counts, name: str, datasets: Mapping[str, Dataset | None]) -> Counts:
    """The counts of the classes that a data set keeps, in its order. Raises InputError for those that are not there."""
    dataset = resolved(name, datasets)
    if dataset is None or dataset.classes is None or dataset.synthetic is not None:
        return counts
    names = list(counts.get("train") or next(iter(counts.values()), {}))
    if dataset.npz is not None:  # whose class list may name classes without images
        from transferkit.data.file_sources import npz_labels

        names = npz_labels(dataset)[0]
    kept = kept_classes(dataset.classes, names, folders.rows_of(dataset.labels), f"datasets.{name}")
    return {split: {label: found[label] for label in kept if label in found} for split, found in counts.items()}


def surveyed(dataset: Dataset) -> Survey | None:
    """What lies in the folder or tar of a data set, looked through once; None for other sources. Raises InputError."""
    if dataset.source in image_tables.SOURCES:
        return image_tables.surveyed(dataset)
    if dataset.source == shards.SOURCE:
        return shards.surveyed(dataset)
    if dataset.source not in folders.SOURCES:
        return None
    return _survey(*_key(dataset))


def group_counts(dataset: Dataset) -> dict[str, dict[str, dict[str, int]]] | None:
    """{split: {group: {class: images}}} of every class; None without `group`, or where it takes a library to know.

    Raises InputError where an image belongs to no group.
    """
    if dataset.group is None or (found := surveyed(dataset)) is None:
        return None
    return {split: members_of(pairs) for split, pairs in _grouped(dataset, found).items()}


def _grouped(dataset: Dataset, found: Survey) -> dict[str, list[tuple[str, str]]]:
    """{split: (group, class) of every image}."""
    if dataset.source in image_tables.SOURCES:
        rows = image_tables.read(dataset).rows
        return {split: [(str(row.group), row.label) for row in ones] for split, ones in rows.items()}
    pairs = {}
    for split, classes in found.splits.items():
        labelled = [(image, label) for label, images in classes.items() for image in images]
        ids = [found.id(split, image) for image, _ in labelled]
        groups = groups_of(ids, str(dataset.group))
        pairs[split] = [(group, label) for group, (_, label) in zip(groups, labelled, strict=True)]
    return pairs


def leakage(name: str, dataset: Dataset) -> list[str]:
    """A sentence for every split with groups of train in it: such images are not new to the model."""
    members, said = group_counts(dataset) or {}, []
    for split, groups in members.items():
        both = [] if split == "train" else sorted(set(groups) & set(members.get("train", ())))
        if both:
            images = sum(sum(groups[group].values()) for group in both)
            whole = sum(sum(one.values()) for one in groups.values())
            are = "1 group is" if len(both) == 1 else f"{len(both):,} groups are"
            said.append(
                f"{name}: {are} in both {split} and train, with {images:,} of the {whole:,} images of {split}, so "
                f"results will flatter: {some(both)}"
            )
    return said


def remarks(name: str, dataset: Dataset) -> list[str]:
    """What was found in a folder or tar that is probably a mistake, and all that is left out, in lines for people."""
    found = surveyed(dataset)
    if found is None:
        return []
    same = _copies(*_key(dataset)) if dataset.source in folders.SOURCES else _copies_of(found)
    doubts = [*warnings(found, name), *leakage(name, dataset), copies_line(same, name)]
    said = [f"warning: {text}" for text in doubts if text]
    rest = left_out_line(found)
    return [*said, f"{name}: {rest}"] if rest else said


def forget() -> None:
    """Look anew from here on."""
    image_tables.forget()
    shards.forget()
    _survey.cache_clear()
    _copies.cache_clear()


def _key(dataset: Dataset) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return dataset.source, str(dataset.folder or dataset.tar), tuple(sorted(dataset.splits.items()))


@functools.lru_cache(maxsize=32)
def _copies(source: str, place: str, splits: tuple[tuple[str, str], ...]) -> Copies:
    return _copies_of(_survey(source, place, splits))


def _copies_of(found: Survey) -> Copies:
    return copies(found.tree, found.images(), classes=found.splits.get("train"))


@functools.lru_cache(maxsize=32)
def _survey(source: str, place: str, splits: tuple[tuple[str, str], ...]) -> Survey:
    path = Path(place).expanduser()
    return survey(folders.on_disk(path) if source == "folder" else open_archive(path), dict(splits))


# -- the steps of a stage ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepPlan:
    """What a stage will do, in numbers; None where they are known only once the data are opened."""

    stage: str
    train: Mapping[str, int] | None
    validation: Mapping[str, int] | None
    carved: bool
    test: Mapping[str, int] | None
    effective_batch: int
    batches_per_epoch: int | None
    steps_per_epoch: int | None
    total_steps: int | None
    epochs: float | None
    evaluations: int | None
    checkpoints: int | None
    fold: str | None = None
    """Which part of train is for validation in cross-validation: `1 of 5`."""
    aside: Mapping[str, int] | None = None
    """The data set's own val, where folds take its place."""

    @property
    def images(self) -> int | None:
        """How many images are trained on in all."""
        return None if self.train is None or self.epochs is None else round(sum(self.train.values()) * self.epochs)


def step_plan(recipe: Recipe, stage: Stage) -> StepPlan:
    """The plan of a stage in one process. Raises InputError when its data cannot be read."""
    counts = class_counts(stage.dataset, recipe.datasets) or {}
    dataset = resolved(stage.dataset, recipe.datasets)
    members = None if dataset is None or not counts else (group_counts(dataset) or {}).get("train")
    fold = fold_of(recipe, stage)
    parts = divided(stage, counts, members, recipe.seed, fold)
    carved, used, validation = parts.carved, parts.used, parts.validation
    images = sum(used.values())
    batches = batches_per_epoch(images, stage.batch_size, mixed=stage.curriculum is not None) if images else None
    steps = math.ceil(batches / stage.accumulate) if batches else None
    total = stage.steps if stage.steps is not None else (stage.epochs or 0) * steps if steps else None
    epochs = float(stage.epochs) if stage.epochs is not None else total / steps if steps and total else None
    return StepPlan(
        stage=stage.name,
        train=used or None,
        validation=validation or None,
        carved=carved,
        test=counts.get("test"),
        effective_batch=stage.batch_size * stage.accumulate,
        batches_per_epoch=batches,
        steps_per_epoch=steps,
        total_steps=total,
        epochs=epochs,
        evaluations=_times(epochs, stage.evaluate_every),
        checkpoints=_times(epochs, stage.checkpoints.every),
        fold=None if fold is None else f"{fold[0] + 1} of {fold[1]}",
        aside=None if fold is None else counts.get("val"),
    )


@dataclass(frozen=True)
class Divided:
    """The images of a stage by class, of its own data set: what is left for training, what validates, what is used."""

    left: dict[str, int]
    used: dict[str, int]
    validation: Mapping[str, int] | None
    carved: bool


def divided(
    stage: Stage, counts: Counts, members: Members | None, seed: int, fold: tuple[int, int] | None = None
) -> Divided:
    """The same choice as the run's, in numbers; `members` are the groups of train, of all its classes."""
    train = {label: number for label, number in counts.get("train", {}).items() if number}
    carved = bool(train) and (fold is not None or ("val" not in counts and stage.validation > 0))
    if members is None and fold is not None:
        left = {label: train[label] - sizes[fold[0]] for label, sizes in fold_sizes(train, fold[1]).items()}
        left = _in_order(left, train)
    elif members is None:
        left = after_carving(train, stage.validation if carved else 0)
    if members is None:
        used = {label: rounded_share(stage.fraction, number) for label, number in left.items()}
    else:
        members = _of_classes(members, train)
        if fold is not None:
            held = {group for group, number in fold_of_groups(members, fold[1], seed).items() if number == fold[0]}
        else:
            held = groups_held_out(members, stage.validation, seed) if carved else set()
        rest = {group: classes for group, classes in members.items() if group not in held}
        kept = groups_kept(rest, stage.fraction, seed) if stage.fraction < 1 else set(rest)
        left, used = _in_order(per_class(rest), train), _in_order(per_class({one: rest[one] for one in kept}), train)
    validation = {label: train[label] - left[label] for label in train} if carved else counts.get("val")
    return Divided(left, used, validation, carved)


def _of_classes(members: Members, wanted: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Without what `classes` drops, and groups that have nothing else."""
    found = {
        group: {label: count for label, count in classes.items() if label in wanted}
        for group, classes in members.items()
    }
    return {group: classes for group, classes in found.items() if classes}


def _in_order(counts: Mapping[str, int], like: Mapping[str, int]) -> dict[str, int]:
    return {label: counts.get(label, 0) for label in like}


def images_to_train(recipe: Recipe, stages: Iterable[str]) -> int:
    """How many images these stages train on in all their steps, of those whose data can be counted unopened."""
    plans = (step_plan(recipe, stage) for stage in map(recipe.stage, stages) if stage.trains)
    return sum(plan.images or 0 for plan in plans)


def batches_per_epoch(images: int, batch_size: int, *, mixed: bool = False) -> int:
    """Forward passes per epoch: a last batch of a single image joins the one before it, unless streams are mixed."""
    batches = math.ceil(images / batch_size)
    return batches - 1 if batches > 1 and not mixed and 0 < images % batch_size < 2 else batches


def after_carving(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """Training images per class when a share is held out: at least one on either side where there are two."""
    return {label: number - held_out(share, number) for label, number in counts.items()}


def _times(epochs: float | None, every: int) -> int | None:
    """How often something happens that is due every so many epochs and at the end."""
    return None if epochs is None else math.ceil(math.ceil(epochs) / every)

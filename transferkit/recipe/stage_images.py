"""Whether the images of a stage suffice: classes on every split, and enough of each after carving and fractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from transferkit.data.folders import class_names, read_labels
from transferkit.data.shares import rounded_share
from transferkit.recipe.counting import Counts, resolved
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.findings import Findings
from transferkit.recipe.schema import Dataset, Stage
from transferkit.recipe.step_plan import after_carving
from transferkit.recipe.tree import Steps
from transferkit.suggest import did_you_mean


def check_stage_images(draft: Draft, stage: StageDraft, spec: Stage, readable: Mapping[str, Counts | None]) -> None:
    """Everything that the class names and counts of readable data sets tell about one stage."""
    dataset = resolved(spec.dataset, draft.datasets)
    source = source_name(spec.dataset, draft.datasets)
    counts = readable.get(spec.dataset)
    if dataset is None or counts is None:
        return
    at: Steps = ("datasets", source, dataset.source)
    if "train" not in counts:
        draft.findings.add((*stage.path, "dataset"), f'the data set "{spec.dataset}" has no train split')
        return
    classes = _class_list(dataset) or list(counts["train"])
    if dataset.folder is not None and dataset.labels is None:
        _check_classes(counts, at, draft.findings)
    else:
        _check_listed(counts, classes, at, draft.findings)
    for position, name in enumerate(spec.evaluate):
        place = (*stage.path, "evaluate", position)
        other = resolved(name, draft.datasets)
        if other is not None and (other.synthetic is None) != (dataset.synthetic is None):
            continue  # a table beside images: table_checks says so
        _check_evaluated(name, draft, classes, readable, place)
    _check_enough(counts, stage, spec, draft.findings)


def source_name(name: str, datasets: Mapping[str, Dataset | None]) -> str:
    """The data set that a chain of `from` ends in, by name."""
    for _ in datasets:
        dataset = datasets.get(name)
        if dataset is None or dataset.from_ is None:
            break
        name = dataset.from_
    return name


def _class_list(dataset: Dataset) -> list[str] | None:
    """The names and the folders of a class list, where there is one."""
    if dataset.labels is None:
        return None
    rows = read_labels(Path(dataset.labels))
    return [*class_names(rows), *(row.folder for row in rows)]


def _check_classes(counts: Counts, at: Steps, findings: Findings) -> None:
    empty = [label for label, number in counts["train"].items() if not number]
    if empty and any(counts["train"].values()):
        message = f"{listed(empty, 'class', 'classes')} {_has(empty)} no training images"
        findings.add(at, message, "remove the empty folder, or put images in it")
    others = {split: found for split, found in counts.items() if split != "train"}
    _check_listed(others, counts["train"], at, findings, owner="train")


def _check_listed(
    counts: Counts, classes: Iterable[str], at: Steps, findings: Findings, owner: str = "the class list"
) -> None:
    known = list(classes)
    for split, found in counts.items():
        unknown = [label for label in found if label not in known]
        if unknown:
            message = f"the split {split} has {listed(unknown, 'class', 'classes')}, which {owner} does not have"
            findings.add(at, message, did_you_mean(unknown[0], known))


def _check_evaluated(
    name: str, draft: Draft, classes: list[str], readable: Mapping[str, Counts | None], path: Steps
) -> None:
    dataset, counts = resolved(name, draft.datasets), readable.get(name)
    if dataset is None or counts is None:
        return
    split = next((split for split in ("val", "test") if split in counts), None)
    if split is None:
        draft.findings.add(path, f'the data set "{name}" has neither a val nor a test split to evaluate on')
    elif dataset.labels is None:
        unknown = [label for label in counts[split] if label not in classes]
        if unknown:
            message = f'"{name}" has {listed(unknown, "class", "classes")}, which this stage does not learn'
            draft.findings.add(path, message, did_you_mean(unknown[0], classes))


def _check_enough(counts: Counts, stage: StageDraft, spec: Stage, findings: Findings) -> None:
    """Images per class after a validation split is carved and the fraction is taken, in that order."""
    train = {label: number for label, number in counts["train"].items() if number}
    if "val" not in counts and spec.validation > 0:
        single = [label for label, number in train.items() if number == 1]
        if single:
            message = f"{listed(single, 'class', 'classes')} {_has(single)} one image, so none can be held out"
            findings.add((*stage.path, "validation"), message, "set validation: 0, or give the data set a val folder")
    if "val" not in counts and spec.validation == 0 and spec.early_stopping is not None:
        message = "needs a validation split: the data set has no val, and validation is 0"
        findings.add((*stage.path, "early_stopping"), message)
    if spec.fraction < 1:
        left = after_carving(train, 0 if "val" in counts else spec.validation)
        none = [label for label, number in left.items() if rounded_share(spec.fraction, number) == 0]
        if none:
            smallest = min(left[label] for label in none)
            message = f"{spec.fraction:g} leaves {listed(none, 'class', 'classes')} without a single training image"
            hint = f'"{none[0]}" has {left[none[0]]}; at least {0.5 / smallest:.3g} is needed'
            findings.add((*stage.path, "fraction"), message, hint)


def listed(names: list[str], one: str, many: str) -> str:
    """the class "a"; the classes "a", "b" and 3 more."""
    quoted = ", ".join(f'"{name}"' for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the {one if len(names) == 1 else many} {quoted}{more}"


def is_are(names: list[str]) -> str:
    """The verb after `listed`."""
    return "is" if len(names) == 1 else "are"


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"

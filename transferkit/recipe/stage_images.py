"""Whether the images of a stage suffice: classes on every split, and enough of each after carving and fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from transferkit.data.folders import SOURCES, LabelRow, class_names, probably_meant, read_labels
from transferkit.data.naming import listed_names, one_class, places
from transferkit.data.shares import rounded_share
from transferkit.errors import InputError
from transferkit.recipe.counting import Counts, resolved, surveyed
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.findings import Findings
from transferkit.recipe.schema import Dataset, Stage
from transferkit.recipe.step_plan import after_carving
from transferkit.recipe.tree import Steps, shown
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
    rows = read_labels(Path(dataset.labels)) if dataset.labels is not None else []
    if dataset.source in SOURCES and not rows:
        _check_filled(counts, at, draft.findings)
    try:
        classes = _class_list(dataset, counts, rows)
    except InputError as error:
        draft.findings.add(at, error.problems[0].message, error.problems[0].hint)
        return
    _check_listed(counts, classes, dataset, rows, at, draft.findings)
    if dataset.synthetic is None:
        _check_two(counts["train"], classes, dataset, at, draft.findings)
    for position, name in enumerate(spec.evaluate):
        place = (*stage.path, "evaluate", position)
        other = resolved(name, draft.datasets)
        if other is not None and (other.synthetic is None) != (dataset.synthetic is None):
            continue  # a table beside images: table_checks says so
        _check_evaluated(name, draft, classes, rows, readable, place)
    _check_enough(counts, stage, spec, draft.findings)


def source_name(name: str, datasets: Mapping[str, Dataset | None]) -> str:
    """The data set that a chain of `from` ends in, by name."""
    for _ in datasets:
        dataset = datasets.get(name)
        if dataset is None or dataset.from_ is None:
            break
        name = dataset.from_
    return name


def _class_list(dataset: Dataset, counts: Counts, rows: Sequence[LabelRow]) -> list[str]:
    """The classes of a stage, as they are called where its data are opened. Raises InputError."""
    if rows and dataset.classes is None:
        return class_names(rows)
    own = list(counts["train"])
    listed = listed_names(own, rows, "", folders=dataset.source in SOURCES)
    return [name or one for one, name in zip(own, listed, strict=True)]


def _check_filled(counts: Counts, at: Steps, findings: Findings) -> None:
    empty = [label for label, number in counts["train"].items() if not number]
    if empty and any(counts["train"].values()):
        message = f"{listed(empty, 'class', 'classes')} {_has(empty)} no training images"
        findings.add(at, message, "remove the empty folder, or put images in it")


def _check_two(
    train: Mapping[str, int], classes: Sequence[str], dataset: Dataset, at: Steps, findings: Findings
) -> None:
    filled = [label for label, number in train.items() if number]
    if len(filled) != 1 or (len(classes) > 1 and dataset.labels is not None):
        return
    found = surveyed(dataset)
    meant = None
    if found is not None and len(train) == 1 and not dataset.classes:
        meant = probably_meant(found.tree, found.folders["train"])
    problem = one_class("", filled[0], meant and shown(Path(meant)))
    findings.add((*at[:2], "classes") if dataset.classes is not None else at, problem.message, problem.hint)


def _check_listed(
    counts: Counts,
    classes: Sequence[str],
    dataset: Dataset,
    rows: Sequence[LabelRow],
    at: Steps,
    findings: Findings,
) -> None:
    owner = "the class list" if rows else "train"
    for split, found in counts.items():
        unknown = _unknown(list(found), classes, dataset, rows, at, findings)
        if unknown:
            known = [*(row.folder for row in rows), *classes]
            message = f"the split {split} has {listed(unknown, 'class', 'classes')}, which {owner} does not have"
            findings.add(at, message, did_you_mean(unknown[0], known))


def _unknown(
    own: Sequence[str],
    classes: Sequence[str],
    dataset: Dataset,
    rows: Sequence[LabelRow],
    at: Steps,
    findings: Findings,
) -> list[str]:
    """Those of a data set's own classes that are not in the list; what is ambiguous goes to the findings."""
    try:
        found = places(own, classes, rows, "", folders=dataset.source in SOURCES)
    except InputError as error:
        findings.add(at, error.problems[0].message, error.problems[0].hint)
        return []
    return [name for name, entry in zip(own, found, strict=True) if entry is None]


def _check_evaluated(
    name: str,
    draft: Draft,
    classes: list[str],
    stage_rows: Sequence[LabelRow],
    readable: Mapping[str, Counts | None],
    path: Steps,
) -> None:
    dataset, counts = resolved(name, draft.datasets), readable.get(name)
    if dataset is None or counts is None:
        return
    split = next((split for split in ("val", "test") if split in counts), None)
    if split is None:
        draft.findings.add(path, f'the data set "{name}" has neither a val nor a test split to evaluate on')
        return
    rows = read_labels(Path(dataset.labels)) if dataset.labels is not None else []
    own = list(counts[split])
    unknown = _unknown(own, classes, dataset, rows, path, draft.findings)
    if unknown:
        message = f'"{name}" has {listed(unknown, "class", "classes")}, which this stage does not learn'
        draft.findings.add(path, message, did_you_mean(unknown[0], classes))
    elif stage_rows and not rows:
        _check_same_meaning(name, own, stage_rows, path, draft.findings)


def _check_same_meaning(
    name: str, own: Sequence[str], rows: Sequence[LabelRow], path: Steps, findings: Findings
) -> None:
    """Folders without a class list, beside a class list in which a text is one row's folder and another row's name."""
    try:
        listed_names(own, rows, "", folders=False)
    except InputError as error:
        message = f'"{name}" has no class list: {error.problems[0].message}'
        findings.add(path, message, "give it labels: FILE.csv too")


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

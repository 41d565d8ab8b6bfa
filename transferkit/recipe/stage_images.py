"""Whether the images of a stage suffice: classes on every split, and enough of each after carving and fractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferkit.data.folders import SOURCES, LabelRow, class_names, probably_meant, rows_of
from transferkit.data.naming import listed_names, one_class, places
from transferkit.errors import InputError
from transferkit.recipe.counting import Counts, Divided, divided, group_counts, surveyed
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.folding import check_fold_sizes
from transferkit.recipe.lineage import lineage, resolved
from transferkit.recipe.schema import Dataset, Stage
from transferkit.recipe.selection import OWN
from transferkit.recipe.tree import Problems, Steps, shown
from transferkit.words.suggest import did_you_mean


@dataclass(frozen=True)
class _Counted:
    """A data set whose files can be read: what it says, holds, and its class list, empty without one."""

    spec: Dataset
    counts: Counts
    rows: Sequence[LabelRow]

    def classes(self) -> list[str]:
        """The classes of a stage, as they are called where its data are opened. Raises InputError."""
        if self.rows and self.spec.classes is None:
            return class_names(self.rows)
        own = list(self.counts["train"])
        listed = listed_names(own, self.rows, "", folders=self.spec.source in SOURCES)
        return [name or one for one, name in zip(own, listed, strict=True)]

    def unknown(self, own: Iterable[str], classes: Sequence[str], at: Steps, problems: Problems) -> list[str]:
        """Those of its own classes that are not in the list; what is ambiguous goes to the problems."""
        own = list(own)
        try:
            found = places(own, classes, self.rows, "", folders=self.spec.source in SOURCES)
        except InputError as error:
            problems.refused(at, error)
            return []
        return [name for name, entry in zip(own, found, strict=True) if entry is None]


def _counted(name: str, draft: Draft, readable: Mapping[str, Counts | None]) -> _Counted | None:
    spec, counts = resolved(name, draft.datasets), readable.get(name)
    if spec is None or counts is None:
        return None
    return _Counted(spec, counts, rows_of(spec.labels))


def check_stage_images(draft: Draft, stage: StageDraft, spec: Stage, readable: Mapping[str, Counts | None]) -> None:
    """Everything that the class names and counts of readable data sets tell about one stage."""
    data, problems = _counted(spec.dataset, draft, readable), draft.problems
    if data is None:
        return
    at: Steps = ("datasets", lineage(spec.dataset, draft.datasets)[-1], data.spec.source)
    if "train" not in data.counts:
        problems.add((*stage.path, "dataset"), f'the data set "{spec.dataset}" has no train split')
        return
    train = data.counts["train"]
    empty = [label for label, number in train.items() if not number]
    if data.spec.source in SOURCES and not data.rows and empty and any(train.values()):
        message = f"{listed(empty, 'class', 'classes')} {_has(empty)} no training images"
        problems.add(at, message, "remove the empty folder, or put images in it")
    try:
        classes = data.classes()
    except InputError as error:
        problems.refused(at, error)
        return
    owner = "the class list" if data.rows else "train"
    for split, found in data.counts.items():
        unknown = data.unknown(found, classes, at, problems)
        if unknown:
            known = [*(row.folder for row in data.rows), *classes]
            message = f"the split {split} has {listed(unknown, 'class', 'classes')}, which {owner} does not have"
            problems.add(at, message, did_you_mean(unknown[0], known))
    if data.spec.synthetic is None:
        _check_two(data, classes, at, problems)
    for position, name in enumerate(spec.evaluate):
        other = resolved(name, draft.datasets)
        if other is None or (other.synthetic is None) == (data.spec.synthetic is None):  # else checks.py says so
            _check_evaluated(name, draft, classes, data.rows, readable, (*stage.path, "evaluate", position))
    try:
        members = (group_counts(data.spec) or {}).get("train")
    except InputError as error:
        problems.refused((*at[:2], "group"), error)
        return
    seed = draft.header.seed if draft.header is not None else 0
    fold = _fold(draft, spec)
    if fold is not None:
        check_fold_sizes({label: number for label, number in train.items() if number}, members, fold[1], draft, stage)
    parts = divided(spec, data.counts, members, seed, fold)
    counts = data.counts if fold is None else {**data.counts, "val": {}}
    _check_enough(counts, stage, spec, parts, members is not None and fold is None, problems)


def _fold(draft: Draft, spec: Stage) -> tuple[int, int] | None:
    """The fold, from 0, that the stage validates on, as `fold_of` says it of a whole recipe."""
    last = draft.stages[-1].stage
    header = draft.header
    if header is None or header.folds is None or last is None or (header.fold or 1) > header.folds:
        return None
    ends = [lineage(one.dataset, draft.datasets)[-1] for one in (spec, last)]
    return ((header.fold or 1) - 1, header.folds) if ends[0] == ends[1] else None


def _check_two(data: _Counted, classes: Sequence[str], at: Steps, problems: Problems) -> None:
    train, spec = data.counts["train"], data.spec
    filled = [label for label, number in train.items() if number]
    if len(filled) != 1 or (len(classes) > 1 and spec.labels is not None):
        return
    found = surveyed(spec)
    meant = None
    if found is not None and spec.source in SOURCES and len(train) == 1 and not spec.classes:
        meant = probably_meant(found.tree, found.folders["train"])
    problem = one_class("", filled[0], meant and shown(Path(meant)))
    problems.add((*at[:2], "classes") if spec.classes is not None else at, problem.message, problem.hint)


def _check_evaluated(
    name: str,
    draft: Draft,
    classes: Sequence[str],
    stage_rows: Sequence[LabelRow],
    readable: Mapping[str, Counts | None],
    path: Steps,
) -> None:
    data, problems = _counted(name, draft, readable), draft.problems
    if data is None:
        return
    split = next((split for split in ("val", "test") if split in data.counts), None)
    if split is None:
        problems.add(path, f'the data set "{name}" has neither a val nor a test split to evaluate on')
        return
    own = list(data.counts[split])
    unknown = data.unknown(own, classes, path, problems)
    if unknown:
        message = f'"{name}" has {listed(unknown, "class", "classes")}, which this stage does not learn'
        problems.add(path, message, did_you_mean(unknown[0], classes))
    elif stage_rows and not data.rows:
        try:  # in the stage's class list, a text may be one row's folder and another row's name
            listed_names(own, stage_rows, "", folders=False)
        except InputError as error:
            message = f'"{name}" has no class list: {error.problems[0].message}'
            problems.add(path, message, "give it labels: FILE.csv too")


def _check_enough(
    counts: Counts, stage: StageDraft, spec: Stage, parts: Divided, grouped: bool, problems: Problems
) -> None:
    """Images per class after a validation split is carved and the fraction is taken, in that order."""
    train = {label: number for label, number in counts["train"].items() if number}
    carved = 0 if "val" in counts else spec.validation
    single = [label for label, number in train.items() if number == 1]
    if parts.carved and grouped and not any((parts.validation or {}).values()):
        message = "no group can be held out: each has all images of some class"
        problems.add((*stage.path, "validation"), message, "set validation: 0, or give the data set a val split")
    elif carved > 0 and single and not grouped:
        message = f"{listed(single, 'class', 'classes')} {_has(single)} one image, so none can be held out"
        problems.add((*stage.path, "validation"), message, "set validation: 0, or give the data set a val folder")
    if "val" not in counts and spec.validation == 0 and spec.early_stopping is not None:
        message = "needs a validation split: the data set has no val, and validation is 0"
        problems.add((*stage.path, "early_stopping"), message)
    if "val" not in counts and spec.validation == 0 and spec.select not in OWN:
        message = "needs a validation split: the data set has no val, and validation is 0"
        problems.add((*stage.path, "select"), message)
    left = parts.left
    none = [label for label, number in parts.used.items() if number == 0]
    if spec.fraction < 1 and none:
        smallest = min(left[label] for label in none)
        message = f"{spec.fraction:g} leaves {listed(none, 'class', 'classes')} without a single training image"
        hint = f'"{none[0]}" has {left[none[0]]}; at least {0.5 / smallest:.3g} is needed'
        problems.add((*stage.path, "fraction"), message, "whole groups are kept: raise it" if grouped else hint)


def listed(names: Sequence[str], one: str, many: str) -> str:
    """the class "a"; the classes "a", "b" and 3 more."""
    quoted = ", ".join(f'"{name}"' for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the {one if len(names) == 1 else many} {quoted}{more}"


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"

"""Looks at the files a recipe names before anything starts: weights by their header, image folders by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from transferkit.data.folders import class_names, read_labels
from transferkit.errors import InputError
from transferkit.recipe.counting import Counts, base, class_counts, images
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.findings import Findings
from transferkit.recipe.paths import LOCAL, STARTS
from transferkit.recipe.schema import Dataset, Model, Stage
from transferkit.recipe.tree import Steps, shown
from transferkit.safetensors_header import read_header
from transferkit.suggest import closest, did_you_mean

MAX_CHECKED_FILES = 20_000
DATA_FOLDER = "one sub-folder per class is expected, inside train/, val/, test/ or directly"


def check_files(draft: Draft) -> None:
    """Missing, empty and wrong files; classes and counts that the stages cannot work with."""
    findings = draft.findings
    images.cache_clear()
    if draft.model is not None:
        _check_model(draft.model, ("model",), findings)
    readable: dict[str, Counts | None] = {}
    for name, dataset in draft.datasets.items():
        if dataset is not None and dataset.from_ is None:
            _check_dataset(name, dataset, draft, readable)
    for stage in draft.stages:
        if stage.stage is None:
            continue
        if stage.stage.model is not None:
            _check_model(stage.stage.model, (*stage.path, "model"), findings)
        if os.path.isabs(stage.stage.start) and stage.stage.start not in STARTS:
            _check_start(Path(stage.stage.start), (*stage.path, "start"), findings)
        _check_stage_data(draft, stage, stage.stage, readable)


def _plain(error: InputError) -> tuple[str, str | None]:
    """Message and hint of another module's error, with paths as people know them."""
    here = str(Path.cwd()) + os.sep
    problem = error.problems[0]
    return problem.message.replace(here, ""), problem.hint


def _check_model(model: Model, path: Steps, findings: Findings) -> None:
    if model.weights is not None:
        _check_weights(Path(model.weights), (*path, "weights"), findings)
    if model.name.startswith(LOCAL):
        folder = Path(model.name.removeprefix(LOCAL))
        if not folder.is_dir():
            findings.add((*path, "name"), f"there is no folder {shown(folder)}")
        elif not (folder / "config.json").is_file():
            findings.add((*path, "name"), f"the folder {shown(folder)} has no config.json, so it is not a saved model")


def _check_weights(file: Path, path: Steps, findings: Findings) -> None:
    if not file.exists():
        findings.add(path, f"there is no file {shown(file)}", _near(file))
        return
    try:
        read_header(file)
    except InputError as error:
        findings.add(path, *_plain(error))


def _check_start(folder: Path, path: Steps, findings: Findings) -> None:
    if not folder.is_dir():
        what = "is a file, not a model folder" if folder.exists() else "does not exist"
        findings.add(path, f"the folder {shown(folder)} {what}", "give a folder such as runs/…/stages/NAME/model")
        return
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        findings.add(path, f"the folder {shown(folder)} has no {' and no '.join(missing)}, so it is not a saved model")
    else:
        _check_weights(folder / "model.safetensors", path, findings)


def _near(path: Path) -> str | None:
    """A hint when something beside it has almost that name, or when even its folder does not exist."""
    missing, parent = path, path.parent
    while not parent.is_dir():
        missing, parent = parent, parent.parent
    match = closest(missing.name, [entry.name for entry in parent.iterdir() if not entry.name.startswith(".")])
    if match:
        return f'did you mean "{shown(parent / match)}"?'
    return None if missing == path else f"there is no folder {shown(missing)} either"


def _check_dataset(name: str, dataset: Dataset, draft: Draft, readable: dict[str, Counts | None]) -> None:
    findings, path = draft.findings, ("datasets", name)
    labels_fine = dataset.labels is None or _check_labels(Path(dataset.labels), (*path, "labels"), findings)
    for key in ("folder", "npz", "tar"):
        given = getattr(dataset, key)
        if given is not None and not Path(given).exists():
            what = "folder" if key == "folder" else "file"
            findings.add((*path, key), f"there is no {what} {shown(Path(given))}", _near(Path(given)))
            return
    try:
        counts = class_counts(name, draft.datasets)
    except InputError as error:
        findings.add((*path, dataset.source), *_plain(error))
        return
    if labels_fine:
        readable[name] = counts
    if dataset.folder is None or counts is None:
        return
    for split, classes in counts.items():
        if not any(classes.values()):
            findings.add((*path, "folder"), f"the split {split} has no images at all", DATA_FOLDER)
            readable.pop(name, None)
    if dataset.on_bad_image == "error":
        _check_empty_files(dataset, (*path, "folder"), findings)


def _check_labels(file: Path, path: Steps, findings: Findings) -> bool:
    if not file.is_file():
        findings.add(path, f"there is no file {shown(file)}", _near(file))
        return False
    try:
        read_labels(file)
    except InputError as error:
        findings.add(path, *_plain(error))
        return False
    return True


def _check_empty_files(dataset: Dataset, path: Steps, findings: Findings) -> None:
    found = images(str(dataset.folder), tuple(sorted(dataset.splits.items())))
    files = [file for classes in found.values() for members in classes.values() for file in members]
    sizes = {file: _size(file) for file in files[:MAX_CHECKED_FILES]}
    for bad, what in ((0, "empty (0 bytes)"), (None, "not readable")):
        names = [shown(file) for file, size in sizes.items() if size == bad]
        if names:
            hint = "delete them, or leave them out with on_bad_image: skip"
            findings.add(path, f"{listed(names, 'image file', 'image files')} {_is(names)} {what}", hint)


def _size(file: Path) -> int | None:
    """Bytes, or None for a broken link."""
    try:
        return os.stat(file).st_size
    except OSError:
        return None


def _check_stage_data(draft: Draft, stage: StageDraft, spec: Stage, readable: Mapping[str, Counts | None]) -> None:
    dataset = base(spec.dataset, draft.datasets)
    source = _source_name(spec.dataset, draft.datasets)
    counts = readable.get(source)
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
        _check_evaluated(name, draft, classes, readable, place)
    _check_enough(counts, stage, spec, draft.findings)


def _source_name(name: str, datasets: Mapping[str, Dataset | None]) -> str:
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
    dataset, counts = base(name, draft.datasets), readable.get(_source_name(name, draft.datasets))
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
        from transferkit.recipe.step_plan import after_carving, rounded_share

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


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"

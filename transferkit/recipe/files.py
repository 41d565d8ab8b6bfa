"""Looks at the files a recipe names before anything starts: weights by their header, image folders by their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from transferkit.data.folders import EXPECTED, read_labels
from transferkit.data.survey import Survey, left_out_line
from transferkit.errors import InputError
from transferkit.model.options import refusals
from transferkit.recipe.counting import Counts, every_class, forget, kept_counts, surveyed
from transferkit.recipe.draft import Draft
from transferkit.recipe.lineage import lineage
from transferkit.recipe.paths import LOCAL, STARTS
from transferkit.recipe.schema import Dataset, Model
from transferkit.recipe.stage_images import check_stage_images, listed
from transferkit.recipe.timm_tensors import is_listed, owners
from transferkit.recipe.tree import Problems, Steps, shown
from transferkit.system.atomic import read_json
from transferkit.system.safetensors_header import read_header
from transferkit.system.shards import INDEX
from transferkit.words.formats import count
from transferkit.words.suggest import closest

MAX_CHECKED_FILES = 20_000
WEIGHTS = ("model.safetensors", f"model{INDEX}")


def check_files(draft: Draft) -> None:
    """Missing, empty and wrong files; classes and counts that the stages cannot work with."""
    problems = draft.problems
    forget()
    if draft.model is not None:
        _check_model(draft.model, ("model",), problems)
    readable: dict[str, Counts | None] = {}
    for name, dataset in draft.datasets.items():
        if dataset is not None and dataset.from_ is None:
            _check_dataset(name, dataset, draft, readable)
    readable = _kept(draft, readable)
    for stage in draft.stages:
        if stage.stage is None:
            continue
        if stage.stage.model is not None:
            _check_model(stage.stage.model, (*stage.path, "model"), problems)
        if os.path.isabs(stage.stage.start) and stage.stage.start not in STARTS:
            _check_start(Path(stage.stage.start), (*stage.path, "start"), problems)
        check_stage_images(draft, stage, stage.stage, readable)


def _plain(error: InputError) -> tuple[str, str | None]:
    """Message and hint of another module's error, with paths as people know them."""
    here = str(Path.cwd()) + os.sep
    problem = error.problems[0]
    return problem.message.replace(here, ""), problem.hint and problem.hint.replace(here, "")


def _check_model(model: Model, path: Steps, problems: Problems) -> None:
    if model.weights is not None and _check_file(Path(model.weights), (*path, "weights"), read_header, problems):
        _check_architecture(model, Path(model.weights), (*path, "weights"), problems)
    for keys, what, why in refusals(model.options):
        problems.add((*path, "options", *keys), what, why)
    if model.name.startswith(LOCAL):
        folder = Path(model.name.removeprefix(LOCAL))
        if not os.path.isdir(folder):
            problems.add((*path, "name"), f"there is no folder {shown(folder)}")
        elif not os.path.isfile(folder / "config.json"):
            problems.add((*path, "name"), f"the folder {shown(folder)} has no config.json, so it is not a saved model")


def _check_architecture(model: Model, file: Path, path: Steps, problems: Problems) -> None:
    """Weights must be of the model that is named, by the config.json of their folder or by their names and widths.

    Only what is certainly another model of timm is refused. What names and widths leave open can be compared with the
    model only where that is made, which takes torch: `doctor` and `run` do so before anything is trained.
    """
    if ":" in model.name:
        return
    base, theirs = model.name.partition(".")[0], _told_beside(file)
    if theirs is not None:
        if theirs.partition(".")[0] != base:
            problems.add(
                path,
                f"these are weights of {theirs}, as the config.json beside them says, not of {model.name}",
                f"write model.name: {theirs}, or copy the file out of its folder if {model.name} has the same tensors",
            )
        return
    found = owners({name: tensor.shape for name, tensor in read_header(file).items()})
    if found and base not in found and is_listed(base) and not model.options:
        others = "" if len(found) == 1 else f" or of {count(len(found) - 1, 'other model')} with the same layers"
        problems.add(
            path,
            f"the tensors are those of {found[0]}{others}, by their names and sizes, not those of {model.name}",
            f"write model.name: {found[0]}, or give weights of {model.name}",
        )


def _told_beside(file: Path) -> str | None:
    """The architecture of a model folder's weights, as its config.json has it; None of a file that lies alone."""
    config = file.parent / "config.json"
    if file.name != "model.safetensors" or not os.path.isfile(config):
        return None
    try:
        told = read_json(config)
    except InputError:
        return None
    theirs = told.get("architecture") if isinstance(told, dict) else None
    return theirs if isinstance(theirs, str) else None


def _check_file(file: Path, path: Steps, read: Callable[[Path], object], problems: Problems) -> bool:
    """Whether a file is there and can be read; a pipe would never end, and `read` says what a folder is not."""
    if not os.path.isfile(file) and not (os.path.isdir(file) and read is read_header):
        if os.path.exists(file):  # a pipe, a device
            problems.add(path, f"{shown(file)} is no regular file")
        else:
            problems.add(path, f"there is no file {shown(file)}", _near(file))
        return False
    try:
        read(file)
    except InputError as error:
        problems.add(path, *_plain(error))
        return False
    return True


def _check_start(folder: Path, path: Steps, problems: Problems) -> None:
    if not os.path.isdir(folder):
        what = "is a file, not a model folder" if os.path.exists(folder) else "does not exist"
        problems.add(path, f"the folder {shown(folder)} {what}", "give a folder such as runs/…/stages/NAME/model")
        return
    weights = next((name for name in WEIGHTS if os.path.isfile(folder / name)), WEIGHTS[0])
    missing = [name for name in ("config.json", weights) if not os.path.isfile(folder / name)]
    if missing:
        problems.add(path, f"the folder {shown(folder)} has no {' and no '.join(missing)}, so it is not a saved model")
    else:
        _check_file(folder / weights, path, read_header, problems)


def _near(path: Path) -> str | None:
    """A hint: a link to nothing, something beside it with almost that name, or that even its folder is not there."""
    if os.path.islink(path):
        return f"it is a link to {shown(Path(os.readlink(path)))}, where nothing is"
    missing, parent = path, path.parent
    while not os.path.isdir(parent):
        missing, parent = parent, parent.parent
    match = closest(missing.name, [entry.name for entry in parent.iterdir() if not entry.name.startswith(".")])
    if match:
        return f'did you mean "{shown(parent / match)}"?'
    return None if missing == path else f"there is no folder {shown(missing)} either"


def _check_dataset(name: str, dataset: Dataset, draft: Draft, readable: dict[str, Counts | None]) -> None:
    problems, path = draft.problems, ("datasets", name)
    labels_fine = dataset.labels is None or _check_file(Path(dataset.labels), (*path, "labels"), read_labels, problems)
    for own, file in (dataset.lists or {}).items():
        if not _check_file(Path(file), (*path, "lists", own), lambda file: None, problems):
            return
    for key in ("folder", "table", "npz", "tar"):
        given = getattr(dataset, key)
        there = os.path.exists if key == "folder" else os.path.isfile  # a pipe would never end
        if given is not None and not there(given) and not (key == "tar" and os.path.isdir(given)):
            what = "folder" if key == "folder" else "file"
            if os.path.exists(given):
                problems.add((*path, key), f"{shown(Path(given))} is no regular file")
            else:
                problems.add((*path, key), f"there is no {what} {shown(Path(given))}", _near(Path(given)))
            return
    try:
        counts = every_class(name, draft.datasets)
    except InputError as error:
        problems.add((*path, dataset.source), *_plain(error))
        return
    except OSError as error:
        place = shown(Path(os.fsdecode(error.filename or ".")))
        problems.add((*path, dataset.source), f"{place} cannot be read: {error.strerror}")
        return
    if labels_fine:
        readable[name] = counts
    found = surveyed(dataset)
    if found is None or counts is None:
        return
    for split, classes in counts.items():
        if not any(classes.values()):
            here = any(one.folder.startswith(found.folders[split]) for one in found.left_out)
            why = f"{EXPECTED}; {left_out_line(found)}" if here else EXPECTED
            problems.add((*path, dataset.source), f"the split {split} has no images at all", why)
            readable.pop(name, None)
    if dataset.on_bad_image == "error":
        _check_empty_files(found, (*path, dataset.source), problems)


def _kept(draft: Draft, readable: Mapping[str, Counts | None]) -> dict[str, Counts | None]:
    """Counts of every data set whose files can be read, and of those made from them, without what `classes` drops."""
    found: dict[str, Counts | None] = {}
    for name, dataset in draft.datasets.items():
        counts = readable.get(lineage(name, draft.datasets)[-1])
        if dataset is not None and dataset.from_ is not None and counts is not None:
            counts = _made_from(name, dataset, draft)
        if dataset is None or counts is None:
            continue
        try:
            found[name] = kept_counts(counts, name, draft.datasets)
        except InputError as error:
            if dataset.classes is not None:  # what is made from it repeats the mistake
                message, hint = _plain(error)
                draft.problems.add(("datasets", name, "classes"), message.removeprefix("classes: "), hint)
    return found


def _made_from(name: str, dataset: Dataset, draft: Draft) -> Counts | None:
    """The counts of a data set made from a readable one, which may have splits and a class list of its own."""
    said, path = dataset.model_fields_set, ("datasets", name)
    own = Path(dataset.labels) if "labels" in said and dataset.labels is not None else None
    if own is not None and not _check_file(own, (*path, "labels"), read_labels, draft.problems):
        return None
    try:
        return every_class(name, draft.datasets)
    except InputError as error:
        if "splits" in said:  # what is made from it repeats the mistake
            draft.problems.add((*path, "splits"), *_plain(error))
        return None


def _check_empty_files(found: Survey, path: Steps, problems: Problems) -> None:
    files = [file for images in found.images().values() for file in images]
    sizes = {file: found.tree.size(file) for file in files[:MAX_CHECKED_FILES]}
    for bad, what in ((0, "empty (0 bytes)"), (None, "not readable")):
        names = [shown(Path(found.tree.name(file))) for file, size in sizes.items() if size == bad]
        if names:
            hint = "delete them, or leave them out with on_bad_image: skip"
            be = "is" if len(names) == 1 else "are"
            problems.add(path, f"{listed(names, 'image file', 'image files')} {be} {what}", hint)

"""A model as people give it: a run, a folder, a name, a weights file, a YAML file. It is opened when it is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.model.creation import Start, build
from transferkit.model.folder import WEIGHTS, open_model
from transferkit.model.options import refusals
from transferkit.model.origin import HUB, LOCAL, locate, weights_in
from transferkit.model.preprocessing import Preprocessing
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.recipe import schema
from transferkit.recipe.merge import read_extended
from transferkit.recipe.paths import looks_like_path, resolve_paths
from transferkit.recipe.sections import validate
from transferkit.recipe.tree import Node, Problems, shown
from transferkit.runs.model_place import model_place
from transferkit.system.safetensors_header import conversion, read_header
from transferkit.system.shards import INDEX

Opened = tuple[TransferModel, SourceHead | None]
PICKLES = re.compile(r"\.(pth|pt|bin|ckpt|pkl|pickle|pth\.tar|tar)$", re.IGNORECASE)
FORMS = (
    "give a run folder, a stage's or another model folder, a timm name, hf-hub:owner/name, NAME@FILE.safetensors, "
    "FILE.safetensors, or a FILE.yaml with a recipe's model section"
)


def given_model(
    text: str, *, like: Given | None = None, where: str = "model", say: Callable[[str], None] = lambda sentence: None
) -> Given:
    """Understand what was given; the weights are opened when they are first asked for.

    `like` is the other model of an audit: a bare FILE has its architecture, and a file of the same architecture its
    options and preprocessing, which no weights file holds. Raises InputError for what cannot be a model, at once;
    opening it may raise more. Nothing that could be a pickle is ever opened.
    """
    try:
        return _given(text, like, say)
    except InputError as error:
        problems = [replace(p, where=where) if p.where in ("", "model.name") else p for p in error.problems]
        raise InputError(problems, error.summary) from error


def is_weights_file(text: str) -> bool:
    """Whether the text is `NAME@FILE` or a bare weights file (also one that does not exist)."""
    if text.startswith((*HUB, LOCAL)) or os.path.isdir(os.path.expanduser(text)):
        return False
    name, at, _ = text.partition("@")
    return text.lower().endswith((".safetensors", INDEX)) or bool(at and name and not looks_like_path(name))


def is_bare_file(text: str) -> bool:
    """Whether the text is a weights file whose architecture only another model can say."""
    return is_weights_file(text) and _split(text)[1] is None


def _given(text: str, like: Given | None, say: Callable[[str], None]) -> Given:
    if text.startswith(HUB):
        return _from_spec(text, schema.Model(name=text), "pretrained", say)
    if is_weights_file(text):
        return _from_file(text, like, say)
    path = Path(os.path.expanduser(text.removeprefix(LOCAL)))
    if PICKLES.search(text) and not os.path.isdir(path):
        raise _pickle(text)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path, say)
    if os.path.isdir(path):
        return _from_folder(text)
    if os.path.lexists(path):
        raise InputError(f"{text} is a file of an unknown kind; {FORMS}")
    if looks_like_path(text) or text.startswith(LOCAL):
        raise InputError(f"{text} does not exist; {FORMS}")
    locate(text)
    return _from_spec(text, schema.Model(name=text), "pretrained", say)


def _pickle(place: str | Path) -> InputError:
    reason = "a pickle (or named like one), which is never opened, because it can run code"
    return InputError(f"{place}: {reason}; {conversion(place)}")


# --- folders, names, YAML -----------------------------------------------------------------------------------


def _from_folder(text: str) -> Given:
    folder = model_place(text).folder
    weights = weights_in(folder)
    if not os.path.lexists(weights):
        raise InputError(f"{folder} has no {WEIGHTS}, so there are no weights in it")
    if PICKLES.search(weights.name):
        raise InputError(
            f"{folder} holds its weights as a pickle ({weights.name}), which is never opened, because it can run code; "
            f"{conversion(weights)}"
        )
    return Given(shown(folder), lambda: open_model(folder), folder=folder)


def _from_spec(label: str, spec: schema.Model, weights: Start, say: Callable[[str], None]) -> Given:
    return Given(label, lambda: _built(spec, weights, say))


def _built(spec: schema.Model, weights: Start, say: Callable[[str], None]) -> Opened:
    """The model with the head it comes with; a source head beside it is known of our own folders only."""
    model, _ = build(spec, weights=weights, source_classes=None, classes=None, say=say)
    return model, None


def _from_yaml(path: Path, say: Callable[[str], None]) -> Given:
    spec = read_model_section(path)
    if spec.weights is not None:
        read_header(spec.weights)
    weights: Start = Path(spec.weights) if spec.weights is not None else "pretrained"
    return _from_spec(f"{spec.name} ({shown(path)})", spec, weights, say)


def read_model_section(path: Path) -> schema.Model:
    """The `model:` section of a recipe, or a file that is nothing else. Paths are relative to the file.

    Raises InputError with every problem: place, message, suggestion.
    """
    root = read_extended(path)
    if "model" not in root.value:
        root = Node({"model": root}, root.mark)
    resolve_paths(root)
    findings = Problems(root, shown(path))
    spec = validate(schema.Model, root.value["model"], ("model",), findings)
    for keys, what, why in refusals(spec.options if spec is not None else {}):
        findings.add(("model", "options", *keys), what, why)
    findings.raise_if_any()
    assert spec is not None
    return spec


# --- weights files ------------------------------------------------------------------------------------------


def _split(text: str) -> tuple[Path, str | None]:
    """`NAME@FILE` or `FILE`: the weights, and the architecture if it was said."""
    name, at, file = text.partition("@")
    if not at or looks_like_path(name) or os.path.isfile(os.path.expanduser(text)):
        return Path(os.path.expanduser(text)), None
    return Path(os.path.expanduser(file)), name


def _from_file(text: str, like: Given | None, say: Callable[[str], None]) -> Given:
    """After a look at the name and at the file's header."""
    path, name = _split(text)
    if name is not None:
        locate(name)
    folder = os.path.isdir(path)
    if folder or not os.path.lexists(path):
        what = "is a folder; give it by itself, without NAME@" if folder else "does not exist"
        raise InputError(f"the weights file {path} {what}")
    if PICKLES.search(path.name):
        raise _pickle(path)
    read_header(path)
    if name is None and like is None:
        raise InputError(f"{path}: a weights file says nothing of its architecture; write NAME@{path}")
    label = f"{name}@{path.name}" if name else path.name
    return Given(label, lambda: _opened_file(path, name, label, like, say))


def _opened_file(path: Path, name: str | None, label: str, like: Given | None, say: Callable[[str], None]) -> Opened:
    other = like.opened[0] if like is not None else None
    name = name or (other.architecture if other is not None else "")
    options, preprocessing = {}, schema.Preprocessing()
    base, _, tag = name.partition(".")
    if like is not None and other is not None and base == other.architecture:
        options = dict(other.options)
        listed = ", ".join(f"{key}={value}" for key, value in options.items()) or "none"
        inherited, values = "options", f"options: {listed}"
        if not tag:
            inherited, values = "options and preprocessing", f"{values}; {_in_words(other.preprocessing)}"
            found = {**other.preprocessing.to_json(), "input_size": other.preprocessing.input_size}
            del found["in_chans"]  # one of the options
            preprocessing = schema.Preprocessing.model_construct(**found)
        say(f"{label}: a weights file does not hold {inherited}; they are taken from {like.label} ({values})")
    return _built(schema.Model(name=name, options=options, preprocessing=preprocessing), path, say)


def _in_words(preprocessing: Preprocessing) -> str:
    height, width = preprocessing.input_size
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
    return f"{height}x{width} pixels, mean {mean}, std {std}, crop {preprocessing.crop_pct:g}"

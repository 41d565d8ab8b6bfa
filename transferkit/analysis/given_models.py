"""A model as people give it: a run, a folder, a name, a weights file, a YAML file. It is opened when it is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.model import SourceHead, TransferModel, build
from transferkit.model.creation import Start
from transferkit.model.origin import HUB, LOCAL, locate
from transferkit.model.preprocessing import Preprocessing
from transferkit.model_folder import WEIGHTS, open_model
from transferkit.model_options import refusals
from transferkit.model_place import model_place
from transferkit.recipe import schema
from transferkit.recipe.findings import Findings
from transferkit.recipe.merge import read_extended
from transferkit.recipe.paths import looks_like_path, resolve_paths
from transferkit.recipe.sections import validate
from transferkit.recipe.tree import Node, shown
from transferkit.safetensors_header import conversion, read_header

Opened = tuple[TransferModel, SourceHead | None]
PICKLES = re.compile(r"\.(pth|pt|bin|ckpt|pkl|pickle|pth\.tar|tar)$", re.IGNORECASE)
FORMS = (
    "give a run folder, a stage's or another model folder, a timm name, hf-hub:owner/name, NAME@FILE.safetensors, "
    "FILE.safetensors, or a FILE.yaml with a recipe's model section"
)


@dataclass(frozen=True)
class WeightsFile:
    """`NAME@FILE` or `FILE`: the weights, and the architecture if it was said."""

    path: Path
    name: str | None

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name}@{self.path.name}" if self.name else self.path.name


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
    return text.lower().endswith(".safetensors") or bool(at and name and not looks_like_path(name))


def is_bare_file(text: str) -> bool:
    """Whether the text is a weights file whose architecture only another model can say."""
    return is_weights_file(text) and _split(text).name is None


def _given(text: str, like: Given | None, say: Callable[[str], None]) -> Given:
    if text.startswith(HUB):
        return _from_spec(text, schema.Model(name=text), "pretrained", say)
    if is_weights_file(text):
        return _from_file(_checked(_split(text)), like, say)
    path = Path(os.path.expanduser(text.removeprefix(LOCAL)))
    if PICKLES.search(text) and not os.path.isdir(path):
        raise InputError(
            f"{text}: a pickle (or named like one), which is never opened, because it can run code; {conversion(text)}"
        )
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


# --- folders, names, YAML -----------------------------------------------------------------------------------


def _from_folder(text: str) -> Given:
    folder = model_place(text).folder
    if not os.path.lexists(folder / WEIGHTS):
        if os.path.isfile(folder / "pytorch_model.bin"):
            raise InputError(
                f"{folder} holds its weights as a pickle (pytorch_model.bin), which is never opened, because it can "
                f"run code; {conversion(folder / 'pytorch_model.bin')}"
            )
        raise InputError(f"{folder} has no {WEIGHTS}, so there are no weights in it")
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
    findings = Findings(root, shown(path))
    spec = validate(schema.Model, root.value["model"], ("model",), findings)
    for keys, what, why in refusals(spec.options if spec is not None else {}):
        findings.add(("model", "options", *keys), what, why)
    findings.raise_if_any()
    assert spec is not None
    return spec


# --- weights files ------------------------------------------------------------------------------------------


def _split(text: str) -> WeightsFile:
    name, at, file = text.partition("@")
    if not at or looks_like_path(name) or os.path.isfile(os.path.expanduser(text)):
        return WeightsFile(Path(os.path.expanduser(text)), None)
    return WeightsFile(Path(os.path.expanduser(file)), name)


def _checked(given: WeightsFile) -> WeightsFile:
    """The same, after a look at the name and at the file's header."""
    if given.name is not None:
        locate(given.name)
    folder = os.path.isdir(given.path)
    if folder or not os.path.lexists(given.path):
        what = "is a folder; give it by itself, without NAME@" if folder else "does not exist"
        raise InputError(f"the weights file {given.path} {what}")
    if PICKLES.search(given.path.name):
        raise InputError(
            f"{given.path}: a pickle (or named like one), which is never opened, because it can run code; "
            f"{conversion(given.path)}"
        )
    read_header(given.path)
    return given


def _from_file(given: WeightsFile, like: Given | None, say: Callable[[str], None]) -> Given:
    if given.name is None and like is None:
        raise InputError(f"{given.path}: a weights file says nothing of its architecture; write NAME@{given.path}")
    return Given(given.label, lambda: _opened_file(given, like, say))


def _opened_file(given: WeightsFile, like: Given | None, say: Callable[[str], None]) -> Opened:
    other = like.opened[0] if like is not None else None
    name = given.name or (other.architecture if other is not None else "")
    options, preprocessing = {}, schema.Preprocessing()
    base, _, tag = name.partition(".")
    if like is not None and other is not None and base == other.architecture:
        options = dict(other.options)
        inherited = "options" if tag else "options and preprocessing"
        if not tag:
            preprocessing = _as_section(other.preprocessing)
        values = ", ".join(f"{key}={value}" for key, value in options.items()) or "none"
        say(
            f"{given.label}: a weights file does not hold {inherited}; they are taken from {like.label} "
            f"(options: {values}{'' if tag else f'; {_in_words(other.preprocessing)}'})"
        )
    spec = schema.Model(name=name, options=options, preprocessing=preprocessing)
    return _built(spec, given.path, say)


def _as_section(preprocessing: Preprocessing) -> schema.Preprocessing:
    values = preprocessing.to_json()
    del values["in_chans"]  # one of the options
    return schema.Preprocessing.model_construct(**{**values, "input_size": preprocessing.input_size})


def _in_words(preprocessing: Preprocessing) -> str:
    height, width = preprocessing.input_size
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
    return f"{height}x{width} pixels, mean {mean}, std {std}, crop {preprocessing.crop_pct:g}"

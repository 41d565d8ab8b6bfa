"""What `--help` shows: plain words for what is to be given, and an example of every verb."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

WORDS = {"bool": "", "float": "NUMBER", "float range": "NUMBER", "int": "N", "int range": "N"}
WORDS |= {"path": "PATH", "Path": "PATH", "str": "TEXT"}
EXAMPLES = {
    "quickstart": "quickstart --out runs",
    "init": "init data/flowers --model resnet50",
    "recipes": "recipes ants_bees --out experiments",
    "run": "run flowers.yaml stages.target.epochs=30",
    "plan": "plan flowers.yaml --all",
    "resume": "resume runs/flowers/20261120-194502-9edd",
    "replay": "replay runs/flowers/20261120-194502-9edd --step 1200",
    "evaluate": "evaluate runs/flowers/20261120-194502-9edd --data data/flowers",
    "predict": "predict runs/flowers/20261120-194502-9edd photo.jpg --out answers.csv",
    "explain": "explain runs/flowers/20261120-194502-9edd photo.jpg",
    "detect": "detect runs/flowers/20261120-194502-9edd photos/ --summary",
    "audit": "audit runs/flowers/20261120-194502-9edd --source-data imagenet/val",
    "edit": "edit runs/flowers/20261120-194502-9edd --use leace --set 'classes=[espresso]'",
    "export": "export runs/flowers/20261120-194502-9edd --format onnx",
    "serve": "serve runs/flowers/20261120-194502-9edd --port 8000",
    "watch": "watch requests.jsonl runs/flowers/20261120-194502-9edd --follow",
    "push": "push runs/flowers/20261120-194502-9edd me/flowers --dry-run",
    "compare": "compare runs/flowers",
    "schema": "schema --out recipe.schema.json",
    "doctor": "doctor flowers.yaml",
}


def example(verb: str) -> str | None:
    """The line at the end of a verb's help."""
    return f"Example: transferkit {EXAMPLES[verb]}" if verb in EXAMPLES else None


class Verb(TyperCommand):
    """A command whose help says PATH and N, where Typer would say <list[Path]> and <int range>."""

    def get_params(self, ctx: Any) -> Any:
        """As Typer's, each with a plain word for its values."""
        return [plain(parameter) for parameter in super().get_params(ctx)]


class Verbs(TyperGroup):
    """The same for what stands before a verb."""

    def get_params(self, ctx: Any) -> Any:
        """As Typer's, each with a plain word for its values."""
        return [plain(parameter) for parameter in super().get_params(ctx)]


def plain(parameter: Any) -> Any:
    """The parameter, with its type in plain words; where Typer has other names for what it asks, as Typer shows it."""
    if parameter.param_type_name == "argument" and parameter.metavar is None:
        parameter.metavar = parameter.name.upper()
    for name in ("display_type", "display_type_rich"):
        typed = getattr(parameter, name, None)
        if typed is not None and name not in vars(parameter):
            setattr(parameter, name, partial(_plain_type, typed, parameter.param_type_name == "argument"))
    return parameter


def _plain_type(typed: Callable[[Any], str | None], is_argument: bool, ctx: Any) -> str | None:
    shown = typed(ctx)
    if shown is None or is_argument:  # whose name and help say it
        return None
    found = re.fullmatch(r"<(?:list\[)?(.*?)\]?>", shown)
    return shown if found is None else WORDS.get(found[1], found[1])

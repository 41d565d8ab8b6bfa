"""What `--help` shows: plain words for what is to be given, and an example of every verb."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup

WORDS = {"bool": "", "float": "NUMBER", "float range": "NUMBER", "int": "N", "int range": "N"}
WORDS |= {"path": "PATH", "Path": "PATH", "str": "TEXT"}


class Listed(NamedTuple):
    """How a verb is listed: the first line of its help, and the example at the end of it."""

    words: str
    example: str


VERBS = {
    "quickstart": Listed(
        "Train, audit and guard a small model on a drawn world: two minutes, nothing to download.",
        "quickstart --out runs",
    ),
    "init": Listed(
        "Look at a folder of images and write a commented recipe for so many of them; then try `plan` and `run`.",
        "init data/flowers --model resnet50",
    ),
    "recipes": Listed(
        "List the recipes that come with transferkit; with a name, copy that one and those it extends.",
        "recipes ants_bees --out experiments",
    ),
    "run": Listed(
        "Run a recipe: its stages, then its analyses, then the report.",
        "run flowers.yaml stages.target.epochs=30",
    ),
    "plan": Listed(
        "Show what a recipe sets and where, the steps of every stage and the plugins in call order; start nothing.",
        "plan flowers.yaml --all",
    ),
    "resume": Listed(
        "Go on with a run or an audit: what is finished is kept, stages go on from their newest valid checkpoint.",
        "resume runs/flowers/20261120-194502-9edd",
    ),
    "sweep": Listed(
        "Run a recipe many times: variants, a grid or a search, times seeds; done cells are never run again.",
        "sweep methods.yaml --jobs 2",
    ),
    "replay": Listed(
        "Compute one step of a run again, bit for bit, and show what was in it. The run's folder is only read.",
        "replay runs/flowers/20261120-194502-9edd --step 1200",
    ),
    "convert": Listed(
        "Write the weights in a file of torch.save (.pth, .pt, .bin, .ckpt) as safetensors. No code in it runs.",
        "convert resnet50.pth --to resnet50.safetensors --arch resnet50",
    ),
    "lr": Listed(
        "Try growing learning rates on a copy of the model, and check what the loss suggests by three short runs.",
        "lr flowers.yaml --out lr.svg",
    ),
    "evaluate": Listed(
        "Evaluate a model on a folder: accuracy, loss and recall per class, worst first.",
        "evaluate runs/flowers/20261120-194502-9edd --data data/flowers",
    ),
    "predict": Listed(
        "Predict the classes of images. Unreadable ones are named and skipped.",
        "predict runs/flowers/20261120-194502-9edd photo.jpg --out answers.csv",
    ),
    "explain": Listed(
        "Draw where in photographs a model sees a class: a heat map for each class beside the photograph.",
        "explain runs/flowers/20261120-194502-9edd photo.jpg",
    ),
    "detect": Listed(
        "Predict, and flag images that activate a lingering source class. Unreadable ones are named and skipped.",
        "detect runs/flowers/20261120-194502-9edd photos/ --summary",
    ),
    "audit": Listed(
        "Audit a fine-tuned model: what it remembers of its source, and where that does harm.",
        "audit runs/flowers/20261120-194502-9edd --source-data imagenet/val",
    ),
    "edit": Listed(
        "Edit a finished model without training; it is evaluated before and after. Writes a run folder like `run`.",
        "edit runs/flowers/20261120-194502-9edd --use leace --set 'classes=[espresso]'",
    ),
    "export": Listed(
        "Export a model with its detector as one file that answers exactly as the model does.",
        "export runs/flowers/20261120-194502-9edd --format onnx",
    ),
    "serve": Listed(
        "Serve models and their detectors over HTTP until SIGTERM or Ctrl-C, which answer what was accepted.",
        "serve runs/flowers/20261120-194502-9edd --port 8000",
    ),
    "watch": Listed(
        "Say whether a stream of answers is still like the clean images of the calibration, and since when not.",
        "watch requests.jsonl runs/flowers/20261120-194502-9edd --follow",
    ),
    "push": Listed(
        "Put a model folder on the Hugging Face Hub, with a card. The token is taken from HF_TOKEN.",
        "push runs/flowers/20261120-194502-9edd me/flowers --dry-run",
    ),
    "compare": Listed(
        "Compare runs: what differs between their recipes, and what each reached.",
        "compare runs/flowers",
    ),
    "schema": Listed(
        "Print the JSON Schema of recipes, for editors: completion, descriptions and checks while typing.",
        "schema --out recipe.schema.json",
    ),
    "doctor": Listed(
        "Look at the machine; with a recipe also validate it, read all its images and train three steps of its stages.",
        "doctor flowers.yaml",
    ),
    "plugins": Listed("List installed plugins, show one, or write a new one.", "plugins show bss"),
}
"""In the order in which `--help` lists them. Each is a file of this folder, imported when the verb is named."""


def example(verb: str) -> str:
    """The line at the end of a verb's help."""
    return f"Example: transferkit {VERBS[verb].example}"


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

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """As Typer's, which would cut what a verb does to one line."""
        for command in self.commands.values():
            command.short_help = command.short_help or (command.help or "").partition("\n\n")[0]
        super().format_commands(ctx, formatter)


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

"""`transferkit init`: looks at a folder of images and writes a first recipe for it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.next_steps import here
from transferkit.cli.outputs import require_ending
from transferkit.errors import InputError, Problem
from transferkit.system.atomic import write_text
from transferkit.system.terminal import note

VERBS = {"plan": "what will happen", "doctor": "reads every image, tries three steps", "run": "train"}


def init(
    folder: Annotated[Path, typer.Argument(help="One sub-folder per class, in train/ and val/ or directly.")],
    model: Annotated[str, typer.Option(help="The backbone: any timm name.")] = "resnet50",
    out: Annotated[Path | None, typer.Option(help="The recipe to write; default: FOLDER's name.yaml here.")] = None,
) -> None:
    """Look at a folder of images and write a commented recipe for so many of them; then try `plan` and `run`."""
    from transferkit.recipe.starter import look, starter
    from transferkit.recipe.timm_names import unknown_model

    recipe = out or Path(f"{folder.resolve().name or 'images'}.yaml")
    require_ending(recipe, ".yaml", ".yml")
    if recipe.exists():
        raise InputError(f"{recipe} is there already; give another name with --out")
    if wrong := unknown_model(model):
        raise InputError(Problem(f"--model {model}", *wrong))
    write_text(recipe, starter(folder, look(folder), model))
    note(f"{recipe} written. Try next:")
    for verb, why in VERBS.items():
        note(f"  {here('transferkit')} {verb} {shlex.quote(str(recipe))}  # {why}")

"""`transferkit recipes`: those that come with it, and a copy of one to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.outputs import refuse_file
from transferkit.errors import InputError
from transferkit.system.atomic import make_folder, write_text
from transferkit.system.terminal import note, print_json, print_table

SCHEMA = "# yaml-language-server:"  # where an editor finds the schema: a place beside the recipe that a copy lacks


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to copy, e.g. ants_bees.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="The folder that gets the copy.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the recipes that come with transferkit; with a name, copy that one and those it extends."""
    from transferkit.recipe.shipped import shipped, shipped_recipe

    if name is None:
        found = shipped()
        if json:
            print_json(found)
        else:
            print_table(["recipe", "what it does"], [[one, purpose] for one, purpose in found.items()])
            note("copy one with: transferkit recipes NAME")
        return
    refuse_file(out, "the copy")
    for copied in copy(shipped_recipe(name), out):
        note(f"{copied} written")


def copy(recipe: Path, out: Path) -> list[Path]:
    """Copy a shipped recipe and those it extends, in the same places to each other.

    Raises InputError where one of them is there already; then nothing is written.
    """
    from transferkit.recipe.merge import with_extended
    from transferkit.recipe.shipped import recipes_folder

    folder = recipes_folder()
    files = {out / path.relative_to(folder): path for path in with_extended(recipe)}
    for target in files:
        if target.exists():
            raise InputError(f"{target} is there already; give another folder with --out")
    for target, path in files.items():
        make_folder(target.parent)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(target, "".join(line for line in lines if not line.startswith(SCHEMA)))
    return list(files)

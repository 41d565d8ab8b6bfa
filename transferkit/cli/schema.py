"""`transferkit schema`: the JSON Schema of recipes, with the plugins that are installed here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.outputs import require_ending
from transferkit.errors import InputError, StorageError
from transferkit.plugins.registry import installed
from transferkit.report import write_json
from transferkit.system.terminal import note, print_json


def schema(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file instead of stdout.")] = None,
) -> None:
    """Print the JSON Schema of recipes, for editors: completion, descriptions and checks while typing."""
    if out is not None:
        require_ending(out, ".json")

    from transferkit.recipe.json_schema import recipe_schema

    content = recipe_schema(installed())
    if out is None:
        print_json(content)
        return
    try:
        write_json(out, content)
    except StorageError as error:
        raise InputError(f"cannot write {out}: {error}") from None
    note(f"{out} written; begin a recipe with: # yaml-language-server: $schema={out}")

"""`transferkit run`: a recipe, from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.inputs import AllowPlugins
from transferkit.cli.outputs import refuse_file
from transferkit.cli.summary import present
from transferkit.system.standard_streams import answers_only


def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. stages.target.epochs=3")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    stages: Annotated[
        list[str] | None, typer.Option("--stages", help="Run this stage and those it starts from (repeatable).")
    ] = None,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Run a recipe: its stages, then its analyses, then the report."""
    refuse_file(out, "runs")
    from transferkit.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), allow_plugins=allow_plugins)

    from transferkit.api import execute

    names = [name for given in stages or () for name in given.split(",") if name]
    with answers_only():
        result = execute(loaded, out=out, stages=names, quiet=quiet)
    present(result, as_json=json, quiet=quiet)

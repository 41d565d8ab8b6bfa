"""`transferkit quickstart`: the recipe on the drawn world, from wherever transferkit is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.run import run


def quickstart(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. seed=3, or stages.target.epochs=3")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Train, audit and guard a small model on a drawn world: two minutes, nothing to download."""
    from transferkit.recipe.shipped import shipped_recipe

    run(shipped_recipe("quickstart"), overrides, out=out, stages=None, json=json, quiet=quiet)

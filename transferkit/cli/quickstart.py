"""`transferkit quickstart`: the recipe on the drawn world, from wherever transferkit is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.summary import present
from transferkit.system.standard_streams import answers_only, speaks
from transferkit.system.terminal import say


def quickstart(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. seed=3, or stages.target.epochs=3")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Train, audit and guard a small model on a drawn world: two minutes, nothing to download."""
    from transferkit.recipe import load_recipe
    from transferkit.recipe.shipped import shipped_recipe

    loaded = load_recipe(shipped_recipe("quickstart"), overrides or ())

    from transferkit.api import execute
    from transferkit.cli.planted import planted

    with answers_only():
        result = execute(loaded, out=out, quiet=quiet)
    present(result, as_json=json, quiet=quiet)
    if speaks() and not json and not quiet:
        say("\nWhat was planted in the drawn world:")
        for one in planted(result.run_dir, result.analyses):
            say(f"  {one}")

"""`transferkit resume`: go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.output import answers_only
from transferkit.cli.summary import present


def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Go on with a run: finished stages are kept, the others start from their newest valid checkpoint."""
    from transferkit.folder import RunFolder

    RunFolder.open(run_dir)  # before torch is imported

    from transferkit.api import resume as go_on

    with answers_only():
        result = go_on(run_dir, quiet=quiet)
    present(result, as_json=json, quiet=quiet)

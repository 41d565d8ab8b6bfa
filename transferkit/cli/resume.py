"""`transferkit resume`: go on with a run or an audit that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.audit import present_audit
from transferkit.cli.inputs import AllowPlugins
from transferkit.cli.summary import present
from transferkit.system.standard_streams import answers_only


def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run or an audit.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="E.g. where the data lie now: datasets.flowers.folder=elsewhere"),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Differences that are meant, with commas: recipe, data, versions, machine, records."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Train a finished stage on, to so many epochs in all.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Which stage --epochs is about; default: the last.")] = None,
    allow_plugins: AllowPlugins = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Go on with a run or an audit: what is finished is kept, stages go on from their newest valid checkpoint.

    What is not as the run left it (recipe, data, versions, machine, records) is named and refused, unless accepted.
    """
    from transferkit.analysis.audit_request import is_audit
    from transferkit.api import AuditResult
    from transferkit.runs.folder import RunFolder

    if not is_audit(run_dir):
        RunFolder.open(run_dir)  # before torch is imported

    from transferkit.api import go_on

    with answers_only():
        result = go_on(
            run_dir, overrides or (), accept=accept or (), epochs=epochs, stage=stage, quiet=quiet,
            allow_plugins=allow_plugins,
        )  # fmt: skip
    if isinstance(result, AuditResult):
        present_audit(result, json)
    else:
        present(result, as_json=json, quiet=quiet)

"""`transferkit resume`: go on with a run or an audit that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.audit import present_audit
from transferkit.cli.summary import present


def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run or an audit.")],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while running.")] = False,
) -> None:
    """Go on with a run or an audit: what is finished is kept, stages go on from their newest valid checkpoint."""
    from transferkit.analysis.audit import AuditResult
    from transferkit.analysis.audit_record import is_audit
    from transferkit.folder import RunFolder

    if not is_audit(run_dir):
        RunFolder.open(run_dir)  # before torch is imported

    from transferkit.api import resume as go_on

    result = go_on(run_dir, quiet=quiet)
    if isinstance(result, AuditResult):
        present_audit(result, json)
    else:
        present(result, as_json=json, quiet=quiet)

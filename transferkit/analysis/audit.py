"""`transferkit.audit`: every standard analysis on any pair of models, in a folder like a run's, with a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.analysis.audit_record import Arguments, read_arguments
from transferkit.analysis.chosen import choose
from transferkit.analysis.fail_on import Finding, parse
from transferkit.errors import InputError
from transferkit.folder import RunFolder
from transferkit.registry import installed
from transferkit.run_lock import owned
from transferkit.training.signals import watching


@dataclass
class AuditResult:
    """How an audit ended: what its result.json says."""

    run_dir: Path
    analyses: dict[str, dict[str, float]]
    """{analysis: {metric: value}}; NaN for what could not be measured."""
    findings: list[Finding]
    """One per `fail_on` condition."""
    failed: bool
    """Whether a condition holds or could not be checked."""
    warnings: list[str]
    errors: list[str]
    """Analyses that broke, in sentences; the others are complete."""
    verdicts: dict[str, str]
    content: dict[str, Any] = field(repr=False, default_factory=dict)


def audit(
    target: str | Path,
    *,
    source: str | Path | None = None,
    target_data: str | Path | None = None,
    source_data: str | Path | None = None,
    baseline: str | Path | None = None,
    source_labels: str | Path | None = None,
    analyses: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    fail_on: str | Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    out: str | Path = "runs",
    on_bad_image: str = "error",
    quiet: bool = False,
) -> AuditResult:
    """What does the fine-tuned model still remember of its source, and where does it hurt?

    Models may be run or model folders, timm names, `hf-hub:owner/name`, `NAME@FILE.safetensors`,
    `FILE.safetensors`, or a YAML file with a recipe's model section. Where the target is (a stage of) a run, its
    recipe says what is not given. `options` are {analysis: {option: value}}; `fail_on` are conditions such as
    "lingering > 20". Raises InputError for wrong input (nothing is written) and Interrupted after a signal (finished
    analyses stay, and `resume_audit` goes on).
    """
    given = {
        "source": source, "baseline": baseline, "target_data": target_data, "source_data": source_data,
        "source_labels": source_labels,
    }  # fmt: skip
    arguments = Arguments(
        str(target),
        **{name: None if value is None else str(value) for name, value in given.items()},
        analyses=None if analyses is None else list(analyses),
        options={name: dict(values) for name, values in (options or {}).items()},
        fail_on=[fail_on] if isinstance(fail_on, str) else list(fail_on),
        seed=seed,
        device=device,
        threads=threads,
        on_bad_image=on_bad_image,
        directory=str(Path.cwd()),
    )
    return _perform(arguments, Path(out), None, quiet)


def resume_audit(folder: str | Path, *, quiet: bool = False) -> AuditResult:
    """Go on with an audit that was stopped: finished analyses are kept, the others run.

    Raises InputError for a folder that is no audit's, and as `audit` does.
    """
    place = Path(folder)
    return _perform(read_arguments(place), place.parent, RunFolder(place), quiet)


def _perform(arguments: Arguments, out: Path, known: RunFolder | None, quiet: bool) -> AuditResult:
    conditions = [parse(text) for text in arguments.fail_on]
    left_out: list[str] = []
    chosen = choose(installed(), arguments.analyses, arguments.options, left_out.append)
    for condition in conditions:
        condition.check_names({one.plugin.name: one.metrics for one in chosen})

    from transferkit.analysis.auditing import Auditing
    from transferkit.runner import remove_empty

    with _threads(arguments.threads), watching() as stop:
        folder = known or RunFolder.create(out, "audit")
        try:
            auditing = Auditing(folder, arguments, chosen, conditions, stop=stop, quiet=quiet)
            with owned(folder.path):
                auditing.run(left_out)
        except InputError:
            if known is None:
                remove_empty(folder, out)
            raise
    return AuditResult(
        run_dir=folder.path,
        analyses=auditing.result["metrics"],
        findings=auditing.findings,
        failed=any(finding.holds for finding in auditing.findings),
        warnings=auditing.result["warnings"],
        errors=auditing.errors,
        verdicts={name: report.verdict for name, report in auditing.reports.items() if report.verdict},
        content=auditing.result,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """So many CPU threads inside; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        if count < 1:
            raise InputError(f"threads must be at least 1, not {count}")
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

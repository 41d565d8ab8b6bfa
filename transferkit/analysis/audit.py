"""`transferkit.audit`: every standard analysis on any pair of models, in a folder like a run's, with a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.analysis.chosen import choose
from transferkit.analysis.fail_on import Finding, parse
from transferkit.errors import InputError
from transferkit.folder import RunFolder
from transferkit.registry import installed


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
    analyses stay).
    """
    conditions = [parse(text) for text in ([fail_on] if isinstance(fail_on, str) else fail_on)]
    left_out: list[str] = []
    chosen = choose(installed(), analyses, options or {}, left_out.append)
    for condition in conditions:
        condition.check_names({one.plugin.name: one.metrics for one in chosen})

    from transferkit.analysis.audit_inputs import Wanted
    from transferkit.analysis.auditing import Auditing
    from transferkit.runner import remove_empty

    given = {
        "source": source, "baseline": baseline, "target_data": target_data, "source_data": source_data,
        "source_labels": source_labels,
    }  # fmt: skip
    texts = {name: None if value is None else str(value) for name, value in given.items()}
    wanted = Wanted(str(target), **texts, on_bad_image=on_bad_image, seed=seed)
    with _threads(threads):
        folder = RunFolder.create(Path(out), "audit")
        try:
            auditing = Auditing(folder, wanted, chosen, conditions, device=device, quiet=quiet)
            auditing.run(left_out)
        except InputError:
            remove_empty(folder, Path(out))
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

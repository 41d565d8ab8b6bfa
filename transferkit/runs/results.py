"""How a run or an audit ended, as what Python callers get: what its result.json says, ready for a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.runs.record import declared_by, ends_of, of, read_report
from transferkit.words.formats import listing, number, percent
from transferkit.words.tabular import Tabular, frame

if TYPE_CHECKING:
    from pandas import DataFrame

    from transferkit.analysis.fail_on import Finding

Row = dict[str, Any]


@dataclass(repr=False)
class RunResult(Tabular):
    """How a run ended: what result.json says. Its table has a row per stage."""

    run_dir: Path
    status: str
    stages: dict[str, Any]
    analyses: dict[str, str]
    content: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any]) -> RunResult:
        """From the content of a result.json."""
        return cls(Path(content["run_dir"]), content["status"], content["stages"], content["analyses"], content)

    def records(self) -> list[Row]:
        """What each stage reached on its validation images, best and last epoch; epochs count from 1."""
        return [_stage_row(name, entry) for name, entry in self.stages.items()]

    def measured(self) -> DataFrame:
        """What the analyses measured, as a pandas frame: a row per metric, with the ends of its interval."""
        reports = self._reports().items()
        return frame([row for name, report in reports for row in _metric_rows(name, report)])

    def heading(self) -> str:
        """The folder, how it ended, and the best of each stage."""
        stages = [f"{name} {_best(entry)}" for name, entry in self.stages.items()]
        return ", ".join([f"run {self.run_dir}: {self.status}", *stages, *self.analyses])

    def sentences(self) -> list[str]:
        """The analyses' verdicts, and where the report is."""
        verdicts = [f"{name}: {report['verdict']}" for name, report in self._reports().items() if report.get("verdict")]
        return [*verdicts, f"Report: {self.run_dir / 'report.html'}"]

    def _reports(self) -> dict[str, dict[str, Any]]:
        return {name: read_report(self.run_dir / path, []) for name, path in self.analyses.items()}


@dataclass(repr=False)
class AuditResult(Tabular):
    """How an audit ended: what its result.json says. Its table has a row per metric."""

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
    content: dict[str, Any] = field(default_factory=dict)

    def records(self) -> list[Row]:
        """A row per metric, with the ends of its interval."""
        places = {name: self.run_dir / "analyses" / name / "report.json" for name in self.analyses}
        return [row for name, path in places.items() for row in _metric_rows(name, read_report(path, []))]

    def heading(self) -> str:
        """The folder, what ran, and what failed."""
        measured = listing([*self.analyses] or ["nothing"])
        broken = [f"{len(self.errors)} broke"] if self.errors else []
        return ", ".join([f"audit {self.run_dir}: {measured} measured", *broken, *(["FAILED"] if self.failed else [])])

    def sentences(self) -> list[str]:
        """Verdicts, findings, warnings and errors, and where the report is."""
        verdicts = [f"{name}: {verdict}" for name, verdict in self.verdicts.items()]
        rest = [*map(str, self.findings), *self.warnings, *self.errors]
        return [*verdicts, *rest, f"Report: {self.run_dir / 'report.html'}"]


def _stage_row(name: str, entry: Mapping[str, Any]) -> Row:
    best, last = entry.get("best") or {}, entry.get("last") or {}
    epoch = best.get("epoch")
    return {
        "stage": name,
        "best_epoch": None if epoch is None else epoch + 1,
        **{f"best_{metric}": best.get(metric) for metric in ("top1", "loss")},
        **{f"best_{metric}_sd": (best.get("sd") or {}).get(metric) for metric in ("top1", "loss")},
        **{f"last_{metric}": last.get(metric) for metric in ("top1", "loss")},
        "val_images": (entry.get("images") or {}).get("val"),
        "seconds": entry.get("seconds"),
    }


def _best(entry: Mapping[str, Any]) -> str:
    best = entry.get("best") or {}
    return f"loss {number(best.get('loss'))}" if best.get("top1") is None else percent(best["top1"])


def _metric_rows(name: str, report: Mapping[str, Any]) -> Iterator[Row]:
    """A row per metric that is not the end of an interval, in the order of the report."""
    metrics = report.get("metrics") or {}
    known = declared_by(report.get("plugin") or name)
    ends = ends_of(known)
    for key in metrics:
        if key in ends:
            continue
        metric = of(known, key)
        columns = {"value": key, "low": f"{key}_low", "high": f"{key}_high"}
        numbers = {column: math.nan if metrics.get(end) is None else metrics[end] for column, end in columns.items()}
        yield {"analysis": name, "metric": key, **numbers, "unit": metric.unit, "is": metric.name}

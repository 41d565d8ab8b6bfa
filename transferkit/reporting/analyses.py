"""The report's sections about analyses: numbers, small print, pictures and tables of each `report.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.report import Metric, json_text
from transferkit.reporting import page
from transferkit.reporting.page import Pictures
from transferkit.reporting.tables import result_table, shown_metric
from transferkit.runs.record import RunRecord, declared_by, ends_of, of, read_report
from transferkit.words.formats import interval


@dataclass(frozen=True)
class Analysis:
    """One analysis of the run: its report.json, or why that cannot be read."""

    name: str
    folder: Path
    report: Mapping[str, Any]
    problem: str = ""

    @property
    def anchor(self) -> str:
        """The id of its section."""
        return f"analysis-{self.name}"

    def texts(self, key: str) -> list[str]:
        """A list of sentences of the report: notes or gaps."""
        value = self.report.get(key)
        return [str(text) for text in value] if isinstance(value, list) else []


def read_analyses(run: RunRecord) -> list[Analysis]:
    """Every analysis that left a report, and those that should have, in the order of result.json, then by name."""
    order = list(run.result.get("analyses") or {})
    found = {path.parent.name for path in (run.path / "analyses").glob("*/report.json")}
    names = [*order, *sorted(found.difference(order))]
    return [_read(name, run.path / "analyses" / name) for name in names]


def _read(name: str, folder: Path) -> Analysis:
    problems: list[str] = []
    report = read_report(folder / "report.json", problems)
    if not report and problems:
        return Analysis(name, folder, {}, problems[0])
    return Analysis(name, folder, {**report, "gaps": [*(report.get("gaps") or []), *problems]})


def sections(analyses: Sequence[Analysis], pictures: Pictures) -> Iterator[str]:
    """One section per analysis that can be read; its verdict and gaps stand at the top of the page."""
    for one in analyses:
        if not one.problem:
            yield from _section(one, pictures)


def _section(one: Analysis, pictures: Pictures) -> Iterator[str]:
    report = one.report
    yield page.heading(2, f"Analysis {one.name}", one.anchor)
    numbers = _metrics(report.get("metrics") or {}, declared_by(report.get("plugin")))
    yield page.beside(numbers, page.small_print(one.texts("notes")))
    yield from pictures.show(one.folder, report.get("figures") or [], report.get("captions") or {})
    tables = {key: table for key, table in (report.get("tables") or {}).items() if table}
    for key, table in sorted(tables.items(), key=lambda item: bool(item[1].get("folded"))):
        yield result_table(f"analyses/{one.name}", str(key), table)
    plugin = f"{report.get('plugin', one.name)} {report.get('version', '')}".strip()
    if report.get("parameters"):
        parameters = json_text(report["parameters"], indent=2)
        yield page.folded(f"parameters of {plugin}", parameters)
    else:
        yield page.paragraph(f"{plugin}, without parameters", "small")


def _metrics(metrics: Mapping[str, Any], known: Mapping[str, Metric]) -> str:
    """One row per metric; with intervals, and what more of it means, where its analyzer declares these."""
    if not metrics:
        return ""
    ends = ends_of(known)
    rows = [_row(of(known, key), value, metrics) for key, value in metrics.items() if key not in ends]
    columns = ["metric", "value", "95 % interval", "more is", "name in report.json"]
    shown = [0, 1, *(i for i in (2, 3) if any(row[i] != "–" for row in rows))]
    shown += [4] if any(row[0] != row[4] for row in rows) else []
    right = [place for place, i in enumerate(shown) if i in (1, 2)]
    return page.table([columns[i] for i in shown], [[row[i] for i in shown] for row in rows], right=right)


def _row(metric: Metric, value: Any, metrics: Mapping[str, Any]) -> list[str]:
    low, high = (metrics.get(key) for key in metric.keys[1:]) if metric.interval else (None, None)
    return [
        metric.name,
        "not measured" if value is None else shown_metric(value, metric),
        interval(low, high, unit=metric.unit),
        "–" if metric.more == "neither" else metric.more,
        metric.key,
    ]

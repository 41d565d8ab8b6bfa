"""The report's parts about analyses: a section for each question, and below the numbers, tables and small print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from transferkit.report import Metric, json_text
from transferkit.reporting import page
from transferkit.reporting.answers import Answer
from transferkit.reporting.glossary import Glossary
from transferkit.reporting.page import GALLERY, Pictures
from transferkit.reporting.tables import result_table, shown_metric
from transferkit.runs.record import RunRecord, declared_by, ends_of, of, read_report
from transferkit.words.formats import interval

ROWS_SHOWN, CHARTS_SHOWN = 4, 1


@dataclass(frozen=True)
class Analysis:
    """One analysis of the run: its report.json, or why that cannot be read."""

    name: str
    folder: Path
    report: Mapping[str, Any]
    problem: str = ""

    @property
    def anchor(self) -> str:
        """The id of its part of a section."""
        return f"analysis-{self.name}"

    @property
    def details(self) -> str:
        """The id of its numbers and tables."""
        return f"details-{self.name}"

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


def evidence(one: Analysis, answer: Answer | None, pictures: Pictures, glossary: Glossary) -> Iterator[str]:
    """An analysis in the section of its question: its answer, the pictures that show it best, its verdict."""
    report = one.report
    figures, captions = [str(name) for name in report.get("figures") or []], report.get("captions") or {}
    rows = [name for name in figures if name.startswith(GALLERY)]
    charts = [name for name in figures if name not in rows]
    first = [*rows[:ROWS_SHOWN], *charts[:CHARTS_SHOWN]]
    more = [name for name in figures if name not in first]
    yield page.heading(3, one.name, one.anchor)
    if answer is not None:
        say, sides = glossary.explained, f" ({answer.sides})" if answer.sides else ""
        yield f"<p><strong>{say(answer.value)}</strong> {say(answer.title + sides)}. {say(answer.meaning)}</p>"
    yield from pictures.show(one.folder, first, captions, glossary)
    if report.get("verdict"):
        yield f"<p>{glossary.explained(str(report['verdict']))}</p>"
    if more:
        shown = "".join(pictures.show(one.folder, more, captions, glossary))
        yield page.closed(f"{len(more)} more picture{'s' if len(more) > 1 else ''}", shown, "rows")
    yield f'<p class="small"><a href="#{quote(one.details)}">Numbers, tables and method of {escape(one.name)}</a></p>'


def details(one: Analysis, glossary: Glossary) -> str:
    """All numbers of an analysis, its small print and its tables, closed."""
    report, place = one.report, f"analyses/{one.name}"
    parts = [
        _metrics(report.get("metrics") or {}, declared_by(report.get("plugin"))),
        page.small_print(one.texts("notes"), glossary),
    ]
    tables = {key: table for key, table in (report.get("tables") or {}).items() if table}
    for key, table in sorted(tables.items(), key=lambda item: bool(item[1].get("folded"))):
        parts.append(result_table(place, str(key), table))
    plugin = f"{report.get('plugin', one.name)} {report.get('version', '')}".strip()
    if report.get("parameters"):
        parts.append(page.folded(f"parameters of {plugin}", json_text(report["parameters"], indent=2)))
    else:
        parts.append(page.paragraph(f"{plugin}, without parameters", "small"))
    parts.append(f'<p class="small">{page.link(f"{place}/report.json")}</p>')
    return page.closed(f"Analysis {one.name}: all numbers, tables and method", "".join(parts), "rows", one.details)


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

"""The report's sections about analyses: verdict, metrics, tables and figures of each `report.json`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from transferkit.analysis import page
from transferkit.analysis.run_folder import RunFolder

ROWS = 50
FIGURE_BYTES = 4_000_000
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def analyses(run: RunFolder) -> Iterator[str]:
    """One section per folder in `analyses/`, in the order of result.json, then by name."""
    order = list(run.result.get("analyses") or {})
    found = {path.parent.name: path for path in (run.path / "analyses").glob("*/report.json")}
    for name in sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)):
        yield from _section(name, found[name])


def _section(name: str, path: Path) -> Iterator[str]:
    yield page.heading(2, f"Analysis {name}", f"analysis-{name}")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        yield page.warning("This report cannot be read", [f"analyses/{name}/report.json: {error}"])
        return
    yield page.paragraph(f"{report.get('plugin', name)} {report.get('version', '')}".strip(), "meta")
    if report.get("verdict"):
        yield page.paragraph(str(report["verdict"]))
    metrics = report.get("metrics") or {}
    if metrics:
        yield page.table(["metric", "value"], [[key, _cell(value)] for key, value in metrics.items()], right=(1,))
    for figure in report.get("figures") or []:
        yield _figure(path.parent, str(figure))
    for key, table in (report.get("tables") or {}).items():
        yield from _table(name, str(key), table)
    if report.get("parameters"):
        yield page.folded("parameters", json.dumps(report["parameters"], indent=2, ensure_ascii=False))


def _table(name: str, key: str, table: Mapping[str, Any]) -> Iterator[str]:
    columns, rows = list(table.get("columns") or []), list(table.get("rows") or [])
    yield page.heading(3, key)
    if not rows:
        yield page.paragraph("No rows.", "small")
        return
    yield page.table(columns, [[_cell(value) for value in row] for row in rows[:ROWS]], right=_numeric(rows))
    if len(rows) > ROWS:
        yield page.paragraph(f"The first {ROWS} of {len(rows)} rows; all of them: analyses/{name}/{key}.csv", "small")


def _numeric(rows: Sequence[Sequence[Any]]) -> list[int]:
    """The columns that hold numbers (or nothing) only."""
    width = min(len(row) for row in rows)
    return [
        i
        for i in range(width)
        if all(row[i] is None or (isinstance(row[i], int | float) and not isinstance(row[i], bool)) for row in rows)
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if value != round(value) or abs(value) >= 1e6 else f"{value:.0f}"
    return str(value)


def _figure(folder: Path, name: str) -> str:
    """The picture inside the page, as an image: whatever an SVG contains cannot run or leak styles there."""
    path = folder / name
    kind = TYPES.get(path.suffix.lower())
    inside = path.resolve().is_relative_to(folder.resolve())
    if kind is None or not inside or not path.is_file():
        return page.paragraph(f"Figure {name} is missing.", "small")
    if path.stat().st_size > FIGURE_BYTES:
        return page.paragraph(f"Figure analyses/{folder.name}/{name} is too large for this page.", "small")
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img class="figure" alt="{escape(Path(name).stem)}" src="data:{kind};base64,{data}">'

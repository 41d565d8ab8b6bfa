"""What an analyzer returns: numbers, tables and pictures, as data."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Table:
    """Named columns and rows of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass
class Report:
    """The findings of one analysis. `figures` are file names inside the analysis folder."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Sequence[str] = ()
    verdict: str | None = None

    def write(self, folder: Path, *, name: str, plugin: str, version: str, parameters: Mapping[str, Any]) -> Path:
        """Write report.json and one CSV per table into the folder; return the path of report.json."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "name": name,
            "plugin": plugin,
            "version": version,
            "parameters": dict(parameters),
            "metrics": {key: float(value) for key, value in self.metrics.items()},
            "tables": {
                key: {"columns": list(table.columns), "rows": [list(row) for row in table.rows]}
                for key, table in self.tables.items()
            },
            "figures": list(self.figures),
            "verdict": self.verdict,
        }
        for key, table in self.tables.items():
            with (folder / f"{key}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(table.columns)
                writer.writerows(table.rows)
        path = folder / "report.json"
        path.write_text(json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def finite(value: Any) -> Any:
    """The same JSON value with NaN and infinities as null: JSON has no such numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        return finite(value.item())
    return value

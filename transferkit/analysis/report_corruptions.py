"""The report's part about what is planted in a stage's images: how many, and images before and after."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from transferkit.analysis import page
from transferkit.analysis.report_figures import Pictures

COLUMNS = ("dataset", "split", "corruption")


def corruptions(stage: Path, pictures: Pictures) -> str:
    """From corruptions.csv and the pictures beside it in a stage's folder; nothing when there is no such file."""
    try:
        counts = _counts(stage / "corruptions.csv")
    except (OSError, csv.Error) as error:
        return page.paragraph(f"stages/{stage.name}/corruptions.csv cannot be read: {error}", "small")
    if not counts:
        return ""
    rows = [[*key, str(images)] for key, images in counts.items()]
    found = sorted(stage.glob("corruptions-*.png"))
    captions = {path.name: _caption(path) for path in found}
    return (
        page.heading(3, "Planted corruptions")
        + page.table(["data set", "split", "corruption", "images"], rows, right=(3,))
        + "".join(pictures.show(stage, list(captions), captions, f"stages/{stage.name}"))
    )


def _caption(path: Path) -> str:
    name = path.stem.removeprefix("corruptions-")
    return f"{name}: without its corruptions above, with them below"


def _counts(path: Path) -> Mapping[tuple[str, ...], int]:
    """{(data set, split, corruption): images} in the order of the file; none without one. Raises OSError, csv.Error."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return Counter(tuple(str(row.get(name) or "") for name in COLUMNS) for row in csv.DictReader(file))

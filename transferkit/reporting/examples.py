"""Pictures of the user's own data: what training showed the model, what it gets wrong and what it barely gets right."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from html import escape
from pathlib import Path

from transferkit.reporting import page
from transferkit.reporting.glossary import Glossary
from transferkit.reporting.page import Pictures
from transferkit.words.formats import percent

Row = Mapping[str, str]
KINDS = {
    "mistake": (
        "What it gets wrong, the surest first",
        "Under each: what it is, what the model says, and how sure it is.",
    ),
    "hit": ("What it barely gets right, the least sure first", "Under each: what it is, and how sure the model is."),
}


def read_examples(stage: Path) -> list[Row]:
    """The rows of a stage's examples.csv; none without one. Raises OSError, csv.Error."""
    path = stage / "examples.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [row for row in csv.DictReader(file) if row.get("kind") in KINDS and row.get("picture")]


def pair(stage: str, true: str, predicted: str) -> str:
    """The id of the first picture of a cell of the confusion matrix."""
    return f"images-{stage}-{true}-{predicted}"


def cells(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """The (true, predicted) labels of which there are pictures."""
    return {(row.get("true_label") or "", row.get("predicted_label") or "") for row in rows}


def galleries(stage: Path, rows: Collection[Row], pictures: Pictures, glossary: Glossary) -> str:
    """Mistakes, then near misses, as small pictures with what is said of each."""
    parts, anchored = [], set[str]()
    for kind, (title, below) in KINDS.items():
        chosen = [row for row in rows if row["kind"] == kind]
        if not chosen:
            continue
        shown = "".join(_one(stage, row, pictures, anchored) for row in chosen)
        parts.append(
            page.heading(3, title) + f'<div class="thumbs">{shown}</div>'
            f'<p class="small">{glossary.explained(below)} {page.link(f"stages/{stage.name}/examples.csv")}</p>'
        )
    return "".join(parts)


def _one(stage: Path, row: Row, pictures: Pictures, anchored: set[str]) -> str:
    anchor = pair(stage.name, row.get("true_label") or "", row.get("predicted_label") or "")
    mark = "" if anchor in anchored else f' id="{escape(anchor)}"'
    anchored.add(anchor)
    wrong = row["kind"] == "mistake"
    said = f"{row.get('true')} → {row.get('predicted')}" if wrong else str(row.get("true"))
    sure = _share(row.get("probability"))
    alt = f"{row.get('true')}, taken for {row.get('predicted')}: {row.get('id')}"
    image = pictures.thumbnail(stage, row["picture"], alt)
    return f"<figure{mark}>{image}<figcaption>{escape(said)}<br>{escape(sure)}</figcaption></figure>"


def _share(text: str | None) -> str:
    try:
        return percent(float(text or ""), 0)
    except ValueError:
        return "–"


def training_batch(stage: Path, pictures: Pictures, glossary: Glossary) -> str:
    """Some training images as the model saw them; nothing where none were kept."""
    name = "training-batch.jpg"
    if not (stage / name).is_file():
        return ""
    caption = "Training images as the model was shown them in its first epoch, changed as the recipe says."
    return page.heading(3, "What training showed it") + "".join(
        pictures.show(stage, [name], {name: caption}, glossary, f"stages/{stage.name}")
    )

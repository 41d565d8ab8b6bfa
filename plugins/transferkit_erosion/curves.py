"""How the accuracy on clean images went while a stage trained, from the run's records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession


@dataclass(frozen=True)
class Point:
    """An accuracy on the clean data set in the course of a stage."""

    step: int
    epoch: int
    accuracy: float
    early: bool
    """Within an epoch, on a part of the images."""


def curve(session: AnalysisSession, stage: str, clean: str) -> list[Point]:
    """A stage's accuracy on the clean data set, by step; its validation split where it trains on clean images."""
    assert session.recipe is not None
    records = session.history(stage)
    name = clean
    if not any(record["split"] == clean for record in records) and session.recipe.stage(stage).dataset == clean:
        name = "val"
    return [
        Point(int(record["step"]), int(record["epoch"]), float(record["top1"]), "terms" not in record)
        for record in records
        if record["split"] == name and record.get("top1") is not None
    ]


def ends(points: list[Point]) -> list[Point]:
    """Those at the ends of epochs."""
    return [point for point in points if not point.early and point.epoch >= 0]

"""What a stage was trained on: of two trainings that saw different numbers of images no one can tell what made them
differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferkit.analysis.session import AnalysisSession


def exposures(session: AnalysisSession, stage: str) -> tuple[float, float]:
    """How many target and source images a stage was trained on, each as often as it was seen; NaN where unknown.

    As its curriculum noted it, under `target_images` and `source_images`, or else as its records count. Unknown for a
    curriculum that notes neither.
    """
    train = [record for record in session.history(stage) if record["split"] == "train"]
    noted = [
        values
        for record in train
        for values in record.get("plugins", {}).values()
        if "target_images" in values and "source_images" in values
    ]
    if noted:
        return float(noted[-1]["target_images"]), float(noted[-1]["source_images"])
    if session.recipe is not None and session.recipe.stage(stage).curriculum is not None:
        return math.nan, math.nan
    return float(sum(record.get("images", math.nan) for record in train)), 0.0

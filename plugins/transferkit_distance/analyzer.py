"""The analyzer `distance`: what the observer of that name recorded, as curves and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_distance.headlines import HEADLINES, WORDS
from transferkit_distance.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Distance(Options):
    """How far stages moved the backbone, along their way and as the crow flies."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("steps", "optimizer steps", "count", answers="How long was the training?"),
        Metric("distance", "way of the weights", answers="How far did the weights travel, step by step?"),
        Metric("displacement", "displacement", answers="How far from their start did they end?"),
        Metric("straightness", "straightness", "ratio", answers="How straight was the way? 1 is a straight line."),
        Metric("fisher_length", "Fisher length", answers="How far did the predictions travel?"),
        Metric(
            "fisher_length_definition_2", "Fisher length, definition 2",
            answers="The same with the mean over images outside the root?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """Distances of paper 004, tables 1 and 2, from metrics.jsonl. The metrics are of the analysis's own stage."""
        from transferkit_distance.report import report

        return report(session, self)

"""The analyzer `attraction`: does a mark that meant one source class still draw the fine-tuned model?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_tennis_ball.headlines import HEADLINES, WORDS
from transferkit_tennis_ball.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Attraction(Options):
    """Compare how models answer target images with and without the mark of one source class."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "recall_gained", "recall that the mark adds", "points", interval=True,
            answers="Did the source model learn the mark?",
        ),
        Metric(
            "attraction_source", "attraction of the source model", "share", more="worse", interval=True,
            answers="How many marked target images does the source model take for the marked class?",
        ),
        Metric(
            "attraction_target", "attraction after fine-tuning", "share", more="worse", interval=True,
            answers="How many does the fine-tuned model still take for it?",
        ),
        Metric(
            "attraction_target_clean", "attraction without the mark", "share", more="worse", interval=True,
            answers="How many does it take for it where there is no mark?",
        ),
        Metric(
            "attraction_added", "attraction that the mark adds", "points", more="worse", interval=True,
            answers="How many more does it take for it with the mark than without?",
        ),
        Metric(
            "accuracy_marked", "accuracy with the mark", "share", more="better", interval=True,
            answers="How many marked target images does the fine-tuned model get right?",
        ),
        Metric(
            "accuracy_clean", "accuracy without the mark", "share", more="better", interval=True,
            answers="How many does it get right where there is no mark?",
        ),
        Metric(
            "largest_share", "share of the commonest answer", "share", more="worse",
            answers="How many marked images get the answer that is given most often?",
        ),
        Metric("target_images", "target images in training", "count", answers="How many did the stage train on?"),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """The mark's gate on M^s, then attraction and accuracy of every arm (paper 004, section 5.2 and table 3)."""
        from transferkit_tennis_ball.report import report

        return report(session, self)

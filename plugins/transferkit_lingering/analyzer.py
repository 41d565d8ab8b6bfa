"""The analyzer `lingering`: which source classes the target never shows and the fine-tuned model still knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_lingering.headlines import HEADLINES, WORDS
from transferkit_lingering.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Lingering(Options):
    """Find source classes that the target images hardly show and the fine-tuned backbone still recognises."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "source_only", "source-only classes", "count",
            answers="How many source classes do the target images hardly show?",
        ),
        Metric(
            "lingering", "lingering classes by equation 3", "count",
            answers="How many of these does the fine-tuned model still recognise, by the mean alone?",
        ),
        Metric(
            "lingering_certain", "lingering classes, certain", "count",
            answers="Of how many does the whole interval lie above the threshold, with enough images?",
        ),
        Metric(
            "forgotten_certain", "forgotten classes, certain", "count",
            answers="Of how many does no part of the interval lie above the threshold?",
        ),
        Metric(
            "uncertain", "source-only classes that could be either", "count",
            answers="Of how many are there too few images to tell?",
        ),
        Metric(
            "unknown", "source-only classes without images", "count",
            answers="Of how many source-only classes is there no image to ask the model with?",
        ),
        Metric(
            "shared", "classes that the target shows", "count",
            answers="How many source classes do the target images show?",
        ),
        Metric(
            "probability_left", "probability left to source-only classes", "ratio", interval=True,
            answers="Which part of the probability that the source model gave source-only classes on their images is "
            "left, over those with enough images (`retention` asks the same of right answers, over all classes)?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    standard_audit: ClassVar[int] = 20

    def analyze(self, session: AnalysisSession) -> Report:
        """Equations 1 to 3 of paper 000 for every source class, with intervals and figure 4."""
        from transferkit_lingering.report import report

        return report(session, self)

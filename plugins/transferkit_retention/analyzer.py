"""The analyzer `retention`: how many source images the fine-tuned backbone still gets right under the source's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_retention.headlines import HEADLINES, WORDS
from transferkit_retention.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Retention(Options):
    """Put the source's head on the fine-tuned backbone and see which source classes it still recognises."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "top1_source", "top-1 of the source model", "share", interval=True,
            answers="How many source images did the source model name right?",
        ),
        Metric(
            "top1_head_swap", "top-1 after fine-tuning", "share", interval=True,
            answers="How many does the fine-tuned backbone still name right under the source's head?",
        ),
        Metric(
            "relative_retention", "right answers left", "share", interval=True,
            answers="Which part of the source model's right answers is left (`lingering` asks the same of "
            "probabilities, over source-only classes: `probability_left`)?",
        ),
        Metric(
            "relative_retention_chance", "right answers left by chance", "share",
            answers="Which part would a model have that answers at random?",
        ),
        Metric(
            "relative_retention_source_only", "right answers left of source-only classes", "share", interval=True,
            answers="The same of classes that target images hardly show?",
        ),
        Metric(
            "relative_retention_rare", "right answers left of rare classes", "share", interval=True,
            answers="The same of classes that few target images show?",
        ),
        Metric(
            "relative_retention_common", "right answers left of common classes", "share", interval=True,
            answers="The same of classes that many target images show?",
        ),
        Metric(
            "relative_retention_gap", "right answers left, classes that are shown less source-only ones", "points",
            interval=True, answers="Is less left of classes that the target images show than of those they do not?",
        ),
        Metric(
            "recalled_half", "classes with a recall of half or more", "share", interval=True,
            answers="Of how many source classes does the fine-tuned backbone name at least half of the images?",
        ),
        Metric(
            "recalled_half_source", "classes with a recall of half or more, source model", "share", interval=True,
            answers="Of how many did the source model?",
        ),
        Metric(
            "images_per_class", "images per source class, median", "number",
            answers="On how many images of a class does its recall rest?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    standard_audit: ClassVar[int] = 10

    def analyze(self, session: AnalysisSession) -> Report:
        """Recall per source class before and after fine-tuning (paper 001, section 2.1), and by prevalence."""
        from transferkit_retention.report import report

        return report(session, self)

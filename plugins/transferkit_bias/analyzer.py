"""The analyzer `bias`: which source classes push the fine-tuned model towards one of its target classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_bias.headlines import HEADLINES, WORDS
from transferkit_bias.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Bias(Options):
    """Let the fine-tuned model vote on source images, and find source classes that always get the same answer."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "high", "highly biased classes", "share",
            answers="How many source classes get nearly always the same answer?",
        ),
        Metric("slight", "slightly biased classes", "share", answers="How many lean towards an answer?"),
        Metric("neutral", "neutral classes", "share", answers="How many get all answers about equally often?"),
        Metric(
            "high_expected", "highly biased classes by chance", "share", interval=True,
            answers="How many would look highly biased if every image voted like all of them together?",
        ),
        Metric(
            "high_certain", "highly biased classes of those with enough images", "share", interval=True,
            answers="How many classes are highly biased when those with few images are left out?",
        ),
        Metric(
            "high_certain_expected", "highly biased classes of those with enough images, by chance", "share",
            interval=True, answers="How many of these would look so by chance?",
        ),
        Metric(
            "high_certain_baseline", "highly biased classes of those with enough images, of the baseline", "share",
            interval=True, answers="How many of the same classes are highly biased for the baseline?",
        ),
        Metric(
            "high_and_source_only", "highly biased source-only classes", "share",
            answers="How many classes are highly biased although the target images hardly show them?",
        ),
        Metric("high_and_source_only_classes", "their number", "count", answers="How many classes is that?"),
        Metric(
            "lingering_high_bias", "highly biased lingering classes", "count",
            answers="How many of the classes that the model still recognises are highly biased?",
        ),
        Metric(
            "lingering_high_bias_certain", "highly biased lingering classes with enough images", "count",
            answers="How many of these have enough images to be sure?",
        ),
        Metric(
            "significant", "classes that vote unlike all images", "share",
            answers="How many of the tested classes differ from the model's own preference by more than chance?",
        ),
        Metric(
            "intraclass_correlation", "likeness of answers within a class", "number", interval=True,
            answers="How much more alike are answers to images of one class than to any images (0: not at all, 1: the "
            "class decides)?",
        ),
        Metric(
            "intraclass_correlation_baseline", "likeness of answers within a class, baseline", "number", interval=True,
            answers="How alike are they for a model that never saw the source classes?",
        ),
        Metric(
            "intraclass_difference", "likeness of answers within a class, beyond the baseline's", "number",
            interval=True, answers="How much of the likeness comes from the source, on the same images?",
        ),
        Metric(
            "bias_r_baseline", "correlation with the baseline's biases", "number", interval=True,
            answers="Are the same classes biased in the baseline (Pearson's r; noise pulls it to 0)?",
        ),
        Metric(
            "bias_r_ceiling", "largest correlation that noise allows", "number",
            answers="What could this correlation be at most, with so few images per class?",
        ),
        Metric(
            "overdispersion", "overdispersion", "ratio",
            answers="How much more do answers vary between classes than chance explains (1: not at all)? "
            "Grows with the images per class",
        ),
        Metric(
            "prior_index", "one-sidedness of all votes", "number",
            answers="How uneven is the model's own preference, whatever the images show (0 to 1)?",
        ),
        Metric("high_baseline", "highly biased classes of the baseline", "share"),
        Metric("slight_baseline", "slightly biased classes of the baseline", "share"),
        Metric("neutral_baseline", "neutral classes of the baseline", "share"),
        Metric("significant_baseline", "classes that vote unlike all images, of the baseline", "share"),
        Metric("overdispersion_baseline", "overdispersion of the baseline", "ratio"),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    standard_audit: ClassVar[int] = 30

    def analyze(self, session: AnalysisSession) -> Report:
        """Equation 1 of paper 001 with tests against the model's own preference, for M^t and M^b."""
        from transferkit_bias.report import report

        return report(session, self)

"""The analyzer `spectrum`: which directions of weights and features a fine-tuning turned, and which it shrank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_spectrum.headlines import HEADLINES, WORDS
from transferkit_spectrum.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Spectrum(Options):
    """Compare singular vectors of the weights and singular values of the features before and after fine-tuning."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("cosine", "mean |cosine|", answers="How far are the weights' directions where they were? 1: exactly."),
        Metric("cosine_larger_half", "mean |cosine|, larger half", answers="The same of the main directions?"),
        Metric("cosine_smaller_half", "mean |cosine|, smaller half", answers="The same of the other directions?"),
        Metric(
            "principal_cosine", "cosine of the main subspaces",
            answers="Do the main directions span what they spanned, whatever their order?",
        ),
        Metric(
            "relative_distance", "relative distance of the weights", "ratio",
            answers="How far did the weights move, as a part of their length?",
        ),
        Metric(
            "masked_directions", "masked directions", "count",
            answers="How many directions are not determined, and left out?",
        ),
        Metric(
            "largest_source", "energy in the largest value, before", "share",
            answers="How much of the features' energy had one direction before?",
        ),
        Metric(
            "largest_target", "energy in the largest value, after", "share",
            answers="How much of it has one direction after fine-tuning?",
        ),
        Metric(
            "smaller_half_source", "energy in the smaller half, before", "share", interval=True,
            answers="How much of the features' energy was in the smaller half of the singular values?",
        ),
        Metric(
            "smaller_half_target", "energy in the smaller half, after", "share", interval=True,
            answers="How much of it is there after fine-tuning?",
        ),
        Metric(
            "smaller_half_change", "change of the energy in the smaller half", "points", interval=True,
            answers="How much more of it is there after fine-tuning than before, in the same batches?",
        ),
        Metric("collapsed", "collapsed features", more="worse", answers="Have the features collapsed? 1: yes."),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """Corresponding angles (paper 002, figure 1b), feature spectra (1c-d, 3b-c) and, if asked for, 3d."""
        from transferkit_spectrum.report import report

        return report(session, self)

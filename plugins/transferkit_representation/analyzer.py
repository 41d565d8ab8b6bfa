"""The analyzer `representation`: what a stage did to every layer: similarity, rank, and what a linear probe reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_representation.headlines import HEADLINES, WORDS
from transferkit_representation.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Representation(Options):
    """Compare the layers of the model a stage started from with those it ended with, on the same images."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "cka_diagonal", "mean CKA", interval=True, answers="How alike are layers before and after? 1: the same."
        ),
        Metric("cka_diagonal_least", "least CKA", answers="How alike are they where they changed most?"),
        Metric("cka_features", "CKA of the features", interval=True, answers="How alike are the pooled features?"),
        Metric("rank_ratio", "numerical rank, after over before", "ratio", answers="Do layers use fewer dimensions?"),
        Metric(
            "rank_at_ceiling", "ranks at their ceiling", "share",
            answers="How many of the ranks say no more than how many images or values there are?",
        ),
        Metric(
            "stable_rank_ratio", "stable rank, after over before", "ratio",
            answers="Do layers use fewer dimensions, by the stable rank?",
        ),
        Metric(
            "participation_ratio_ratio", "participation ratio, after over before", "ratio", interval=True,
            answers="Do layers use fewer dimensions, by the participation ratio?",
        ),
        Metric(
            "participation_change", "dimensions of the features, after over before", "ratio", interval=True,
            answers="Do the features use fewer dimensions?",
        ),
        Metric("participation_before", "dimensions of the features, before", answers="How many did the features use?"),
        Metric("participation_after", "dimensions of the features, after", answers="How many do they use now?"),
        Metric(
            "probe_before", "probe accuracy, before", "share", interval=True,
            answers="How many unseen images did a linear probe on the features name right?",
        ),
        Metric(
            "probe_after", "probe accuracy, after", "share", interval=True, answers="How many does one name right now?"
        ),
        Metric(
            "probe_change", "change of the probe's accuracy", "points", interval=True,
            answers="How much more is read now?",
        ),
        Metric(
            "probe_corrupted_before", "probe accuracy on corrupted images, before", "share", interval=True,
            answers="How many corrupted images did a linear probe name right?",
        ),
        Metric(
            "probe_corrupted_after", "probe accuracy on corrupted images, after", "share", interval=True,
            answers="How many does one name right now?",
        ),
        Metric(
            "probe_corrupted_change", "change of the probe's accuracy on corrupted images", "points", interval=True,
            answers="How much more of the corrupted images is read now?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """Layer x layer CKA, ranks and linear probes (paper 003, figures 3 and 4)."""
        from transferkit_representation.report import report

        return report(session, self)

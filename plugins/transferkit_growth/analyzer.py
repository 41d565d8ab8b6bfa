"""The analyzer `growth`: what a model that learned further classes forgot of those it knew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_growth.headlines import HEADLINES, WORDS
from transferkit_growth.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Growth(Options):
    """Compare a model whose class list grew with the one that it started from, and with joint training."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "top1_before", "old images named right before", "share", more="better", interval=True,
            answers="How many images of old classes did the model name right that it started from?",
        ),
        Metric(
            "top1_after", "old images named right after", "share", more="better", interval=True,
            answers="How many does the grown model name right, among all classes?",
        ),
        Metric(
            "top1_among_old", "old images named right among old classes", "share", more="better", interval=True,
            answers="How many would it name right if it could answer with old classes only?",
        ),
        Metric(
            "top1_joint", "old images named right by joint training", "share", more="better", interval=True,
            answers="How many does a model name right that trained on old and new images together?",
        ),
        Metric(
            "forgotten", "forgotten of the old classes", "points", more="worse", interval=True,
            answers="How many right answers on old images are gone?",
        ),
        Metric(
            "forgotten_over_classes", "the same, interval over classes", "points", more="worse", interval=True,
            answers="How much might be forgotten of other classes of the kind?",
        ),
        Metric(
            "confused", "of it taken for new classes", "points", more="worse", interval=True,
            answers="How many of them does only a new class stand before?",
        ),
        Metric(
            "lost", "of it lost among old classes", "points", more="worse", interval=True,
            answers="How many are wrong among old classes, too?",
        ),
        Metric(
            "answered_new", "old images answered with a new class", "share", more="worse", interval=True,
            answers="How many old images does the grown model take for a new class?",
        ),
        Metric(
            "joint_gap", "behind joint training, old classes", "points", more="worse", interval=True,
            answers="How much better on old images is joint training?",
        ),
        Metric(
            "top1_new", "new images named right", "share", more="better", interval=True,
            answers="How many images of new classes does the grown model name right?",
        ),
        Metric(
            "top1_new_joint", "new images named right by joint training", "share", more="better", interval=True,
            answers="How many of them does joint training name right?",
        ),
        Metric(
            "joint_gap_new", "behind joint training, new classes", "points", more="worse", interval=True,
            answers="How much better on new images is joint training?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """Right answers per old class before, after and by joint training, and on the new classes."""
        from transferkit_growth.report import report

        return report(session, self)

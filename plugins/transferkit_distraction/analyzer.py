"""The analyzer `distraction`: does the fine-tuned model look at what only the source model should care about?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_distraction.headlines import HEADLINES, WORDS
from transferkit_distraction.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Distraction(Options):
    """Paste target images on source images and compare where the models look outside the pasted part."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "target_mean", "distraction", "share", more="worse", interval=True,
            answers="How far does the fine-tuned model look, outside the pasted image, where the source model does?",
        ),
        Metric("baseline_mean", "distraction of the baseline", "share", answers="How far does the baseline?",
               interval=True),
        Metric(
            "difference", "distraction above the baseline's", "points", more="worse", interval=True,
            answers="How much farther does the fine-tuned model look there than the baseline, class by class?",
        ),
        Metric(
            "excess", "of this by what the picture shows", "points", interval=True,
            answers="How much of it stays when what each shares with other pictures is taken off?",
        ),
        Metric(
            "shared_target_mean", "distraction by shared classes", "share",
            answers="How far does the fine-tuned model where source class and target are the same thing?",
        ),
        Metric(
            "unrelated_target", "overlap with other pictures", "share",
            answers="How far would it by chance: with what the source model sees in pictures of other classes?",
        ),
        Metric(
            "difference_unrelated", "distraction above other pictures", "points", interval=True,
            answers="How much farther than by chance?",
        ),
        Metric(
            "difference_shared", "distraction above shared classes'", "points", interval=True,
            answers="How much farther on lingering classes than on those shared with the target?",
        ),
        Metric("unrelated_baseline", "the baseline's overlap with other pictures", "share"),
        Metric("chance", "overlap of independent masks", "share"),
        Metric("classes", "lingering classes measured", "count"),
        Metric(
            "classes_above_diagonal", "classes above the baseline", "count", more="worse",
            answers="In how many classes is the fine-tuned model distracted more than the baseline?",
        ),
        Metric("p_above_diagonal", "p of as many classes above", "p", answers="Could as many be chance (sign test)?"),
        Metric("p_value", "p of the difference to the baseline", "p", answers="Could that be chance?"),
        Metric("composites_lingering", "composites of lingering classes", "count"),
        Metric(
            "flip_rate_target", "answers changed by the background", "share", more="worse",
            answers="How often does the background change the fine-tuned model's answer?",
        ),
        Metric("flip_rate_baseline", "the baseline's answers changed", "share"),
        Metric(
            "flip_rate_difference", "answers changed above the baseline's", "points", more="worse", interval=True,
            answers="How many more of the fine-tuned model's answers does the background change?",
        ),
        Metric("accuracy_target", "accuracy on composites", "share", more="better"),
        Metric("accuracy_baseline", "the baseline's accuracy on composites", "share"),
        Metric(
            "recovered", "answers put right by hiding", "share",
            answers="How many wrong answers become right without what the source model sees?",
        ),
        Metric(
            "recovered_control", "answers put right by hiding elsewhere", "share",
            answers="How many become right without as much elsewhere?",
        ),
        Metric(
            "recovered_difference", "put right, above hiding elsewhere", "points", interval=True,
            answers="How many more become right without what the source model sees?",
        ),
        Metric("empty_maps_target", "empty maps", "share"),
        Metric("empty_maps_baseline", "empty maps of the baseline", "share"),
        Metric("empty_maps_source", "empty maps of the source model", "share"),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    standard_audit: ClassVar[int] = 40

    def analyze(self, session: AnalysisSession) -> Report:
        """Equation 4 of paper 000 for M^t and M^b per source class, with flips, occlusion, pictures and a gallery."""
        from transferkit_distraction.report import report

        return report(session, self)

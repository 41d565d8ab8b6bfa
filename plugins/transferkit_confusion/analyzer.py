"""The analyzer `confusion`: does the background decide what the model calls the object in front of it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_confusion.headlines import HEADLINES, WORDS
from transferkit_confusion.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report

RIGHT = {
    "with": ("same background", "How often is it right before a background that it takes for the same class?"),
    "neutral": ("neutral background", "How often before one that it takes for no class in particular?"),
    "against": ("other background", "How often before one that it takes for another class?"),
    "colour": ("on one colour", "How often without any background?"),
}


@dataclass
class Confusion(Options):
    """Accuracy on target images pasted on source images, by what the background alone is taken for."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "contrast_target", "contrast of the fine-tuned model", "points", interval=True,
            answers="How much more often is it right before a background that it takes for the same class?",
        ),
        Metric("contrast_baseline", "contrast of the baseline", "points", answers="The same of the baseline?",
               interval=True),
        Metric(
            "contrast_difference", "difference of the contrasts", "points", interval=True,
            answers="How much more does the background move the fine-tuned model?",
        ),
        Metric(
            "bias_chosen_held_out", "bias of the chosen classes", "share", interval=True,
            answers="How many held-out images of classes chosen as biased get the answer that they were chosen for?",
        ),
        Metric("bias_chosen_baseline", "the baseline's bias on these", "share", interval=True),
        Metric(
            "bias_all_held_out", "these answers of all held-out images", "share",
            answers="How many would be if the choice said nothing?",
        ),
        Metric(
            "accuracy_all_target", "right, all composites", "share", interval=True,
            answers="Does the fine-tuned model recognise the pasted objects more often than chance would?",
        ),
        Metric("accuracy_all_baseline", "right, all composites, baseline", "share", interval=True),
        *(Metric(f"accuracy_{on}_target", f"right, {name}", "share", answers=ask) for on, (name, ask) in RIGHT.items()),
        *(Metric(f"accuracy_{on}_baseline", f"right, {name}, baseline", "share") for on, (name, _) in RIGHT.items()),
        Metric("composites", "composites", "count", answers="How many pictures were made?"),
        Metric("overlays", "overlays", "count", answers="How many target images are on them?"),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    standard_audit: ClassVar[int] = 50

    def analyze(self, session: AnalysisSession) -> Report:
        """Figure 2 of paper 001 for the target model and, where there is one, the baseline."""
        from transferkit_confusion.report import report

        return report(session, self)

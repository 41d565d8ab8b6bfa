"""The analyzer `erosion`: what training on an easy shortcut took away, against a control without the shortcut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_erosion.headlines import HEADLINES, WORDS
from transferkit_erosion.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Erosion(Options):
    """Compare a stage trained on corrupted data with what it started from and with a clean control."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "accuracy_before", "clean accuracy before", "share", more="better", interval=True,
            answers="How many clean images did the model get right that the stage started from?",
        ),
        Metric(
            "accuracy_after", "clean accuracy after", "share", more="better", interval=True,
            answers="How many does it get right after the stage?",
        ),
        Metric(
            "forgetting", "forgetting", "points", more="worse", interval=True,
            answers="How much accuracy on clean images was lost?",
        ),
        Metric(
            "normalised_forgetting", "forgetting of what was above chance", "ratio", more="worse", interval=True,
            answers="Which part of the ability above guessing was lost?",
        ),
        Metric(
            "forgetting_control", "forgetting of the control", "points", more="worse", interval=True,
            answers="How much does the same schedule on clean images lose?",
        ),
        Metric(
            "excess_forgetting", "forgetting beyond the control's", "points", more="worse", interval=True,
            answers="How much of what was lost did the mark take?",
        ),
        Metric(
            "gate", "accuracy that the right mark adds", "points", interval=True, answers="Was the mark learned?"
        ),
        Metric(
            "shortcut_reliance", "reliance on the mark", "share", more="worse", interval=True,
            answers="How many images with another class's mark are taken for that class?",
        ),
        Metric(
            "shortcut_alone", "accuracy of the mark alone", "share", interval=True,
            answers="How many classes does the model tell when only the mark is there?",
        ),
        Metric(
            "plasticity_gap", "loss of plasticity at the end", "points", more="worse", interval=True,
            answers="How much less accurate than training anew does relearning end?",
        ),
        Metric(
            "plasticity_mean_gap", "mean loss of plasticity", "points", more="worse",
            answers="How much less accurate is it over the epochs?",
        ),
        Metric(
            "warm_start_gap", "loss of plasticity of the control", "points", more="worse", interval=True,
            answers="How much less accurate does going on from the clean control end?",
        ),
        Metric("epochs_to_95", "epochs to 95 % of training anew", "count", more="worse"),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """Accuracies of every arm on every test set, forgetting (figures 1, 2, 6) and plasticity (figure 5)."""
        from transferkit_erosion.report import report

        return report(session, self)

"""The analyzer `interference`: fits the detector of source memories, sets its threshold, and says what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_interference.headlines import HEADLINES, WORDS
from transferkit_interference.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class InterferenceDetector(Options):
    """Fit a detector of inputs that wake source memories, and compare it with ten others."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("detect_p", "threshold", answers="Above which score is an input flagged?"),
        Metric(
            "false_alarm_rate", "false alarms", "share", more="worse",
            answers="How many clean images are flagged that had no part in the detector?",
        ),
        Metric("false_alarm_low", "false alarms, lower end", "share", more="worse"),
        Metric("false_alarm_high", "false alarms, upper end", "share", more="worse"),
        Metric(
            "auroc_presence", "AUROC of presence", more="better", interval=True,
            answers="How well are source images of lingering classes told from clean images? 0.5 is chance.",
        ),
        Metric("aupr_presence", "AUPR of presence", more="better", answers="The same as average precision?"),
        Metric(
            "fpr95_presence", "false alarms at 95 % noticed", "share", more="worse",
            answers="How many clean images are flagged where 95 % of these source images are?",
        ),
        Metric(
            "tpr_presence", "source images flagged", "share", more="better", interval=True,
            answers="How many unseen source images of lingering classes are flagged at the promised rate?",
        ),
        Metric(
            "auroc_composites", "AUROC of composites", more="better", interval=True,
            answers="How well are target images pasted on source images told from clean images?",
        ),
        Metric(
            "aurc_harm", "AURC of harm", more="worse", interval=True,
            answers="How often is the model wrong where the score is low?",
        ),
        Metric(
            "specificity", "AUROC of specificity", more="better", interval=True,
            answers="How well are lingering classes told from source classes that are common in the target?",
        ),
        Metric(
            "named", "named right", "share", more="better", interval=True,
            answers="How often is the class named the right one?",
        ),
        Metric("watched", "classes watched", "count", answers="How many lingering classes does it watch?"),
        Metric(
            "calibration_size", "calibration images", "count",
            answers="On how many clean images does the threshold rest?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    standard_audit: ClassVar[int] = 60

    def analyze(self, session: AnalysisSession) -> Report:
        """Equation 5 of paper 000 with a calibrated threshold, three heads, and the comparison."""
        from transferkit_interference.report import report

        return report(session, self)

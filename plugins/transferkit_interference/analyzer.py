"""The analyzer `interference`: fits the detector of source memories, sets its threshold, and says what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class InterferenceDetector:
    """Fit a detector of inputs that wake source memories, and compare it with ten others."""

    head: Annotated[
        Literal["refitted", "swapped", "separate"],
        Field(description="what reads the source classes: a refitted head, the source's own, or the source model"),
    ] = "refitted"
    reduction: Annotated[
        Literal["sum", "max"], Field(description="the lingering classes' probabilities as one score")
    ] = "sum"
    alpha: Annotated[float, Field(gt=0, lt=1, description="share of clean inputs that may be flagged")] = 0.05
    confidence: Annotated[
        float | None, Field(gt=0, lt=1, description="how sure that is of this very threshold; default: on average")
    ] = None
    detect_p: Annotated[
        float | None, Field(ge=0, lt=1, description="a fixed threshold, without any promise; the paper has 0.01")
    ] = None
    calibration: Annotated[
        float, Field(gt=0, lt=1, description="share of the clean target images that sets the threshold")
    ] = 0.5
    ridge: Annotated[
        float | None, Field(gt=0, description="λ of the refitted map; default: the best of a grid by leave-one-out")
    ] = None
    fit_images: Annotated[int, Field(ge=2, description="images that the refitted map is fitted on, at most")] = 10_000
    neighbours: Annotated[
        int, Field(ge=1, description="k of the kNN detector compared with; at most 1 % of the training images")
    ] = 50
    composite_classes: Annotated[int, Field(ge=0, description="lingering classes behind composites; 0: none")] = 60
    composites_per_class: Annotated[int, Field(ge=1, description="composites of each of these classes")] = 4
    scale: Annotated[float, Field(gt=0, le=1, description="side of the overlay, as a share of the picture's")] = 0.4
    bootstrap: Annotated[int, Field(ge=0, description="resamples for the intervals of AUROC; 0 leaves them out")] = 500
    attempts: Annotated[
        bool, Field(description="also measure what inner layers and a non-linear map would add, and at what cost")
    ] = False
    install: Annotated[
        bool | None,
        Field(description="write the detector into the model's folder; default: if the model is of the same run"),
    ] = None

    metrics: ClassVar[tuple[str, ...]] = (
        "detect_p",
        "false_alarm_rate",
        "false_alarm_low",
        "false_alarm_high",
        "auroc_presence",
        "aupr_presence",
        "fpr95_presence",
        "tpr_presence",
        "auroc_composites",
        "aurc_harm",
        "specificity",
        "named",
        "lingering",
        "calibration_size",
    )
    standard_audit: ClassVar[int] = 60

    def analyze(self, session: AnalysisSession) -> Report:
        """Equation 5 of paper 000 with a calibrated threshold, three heads, and the comparison."""
        from transferkit_interference.report import report

        return report(session, self)

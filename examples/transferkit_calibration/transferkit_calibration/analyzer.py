"""The analyzer `calibration`: how far the probabilities of a model are from how often it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.report import Metric

if TYPE_CHECKING:
    from transferkit import Report
    from transferkit.analysis import AnalysisSession


@dataclass
class Calibration:
    """See whether the model is right as often as its probabilities say."""

    bins: Annotated[int, Field(ge=1, description="images are sorted by probability into so many bins")] = 10
    bootstrap: Annotated[int, Field(ge=0, description="resamples of images; 0 leaves the interval out")] = 1000

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("error", "calibration error", "share", "worse", "How far are probabilities from the truth?", True),
        Metric("confidence", "mean probability", "share", answers="How sure is the model?"),
        Metric("top1", "top-1", "share", "better", "How often is it right?"),
    )

    def analyze(self, session: AnalysisSession) -> Report:
        """The expected calibration error on the validation images of the target task."""
        from transferkit_calibration.report import report

        return report(session, self.bins, self.bootstrap)

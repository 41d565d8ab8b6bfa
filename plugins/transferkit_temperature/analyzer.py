"""The analyzer `temperature`: can the model's probabilities be believed, and can they be made so?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.report import Headline, Meaning, Metric

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report

HEADLINE = Headline(
    question="Can its probabilities be believed?",
    metric="error_before",
    title="points between how sure it is and how often it is right",
    decides="gain",
    bar=0,
    more=Meaning(
        "A temperature makes its probabilities better: divided by $temperature, its logits are right about as often as "
        "they say.",
        "Ask for calibrated answers when you predict or serve.",
    ),
    less=Meaning("A temperature makes its probabilities worse.", "Nothing needs to be done about it."),
    unsure=Meaning(
        "No temperature makes its probabilities certainly better.", "More validation images would decide it."
    ),
    how="Validation images are sorted by the probability of the class that is named. The temperature is judged on "
    "images that it was not fitted on.",
    absent="whether its probabilities can be believed",
)


@dataclass
class TemperatureScaling:
    """Fit the temperature that makes the model's probabilities true, and say whether it helps."""

    folds: Annotated[int, Field(ge=2, description="parts of the validation images for cross-fitting")] = 5
    bins: Annotated[int, Field(ge=1, description="images are sorted by probability into so many bins")] = 15
    install: Annotated[
        bool | None,
        Field(description="write it into the model's folder; null: if that is a stage of the run that is analysed"),
    ] = None

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("temperature", "temperature", answers="By what are its logits divided? Above 1: it was too sure."),
        Metric(
            "gain", "loss saved", answers="How much less is the loss of images it was not fitted on?", interval=True
        ),
        Metric("nll_before", "loss before", more="worse"),
        Metric("nll_after", "loss after", more="worse"),
        Metric("error_before", "calibration error before", "share", "worse", "How far are probabilities from truth?"),
        Metric("error_after", "calibration error after", "share", "worse", "How far, on images not fitted on?"),
        Metric("classwise_before", "class-wise error before", "share", "worse"),
        Metric("classwise_after", "class-wise error after", "share", "worse"),
        Metric("images", "images", "count", answers="On how many was it fitted?"),
    )
    headlines: ClassVar[tuple[Headline, ...]] = (HEADLINE,)
    standard_audit: ClassVar[int] = 70

    def analyze(self, session: AnalysisSession) -> Report:
        """Fit on the validation images of the target task, judge by cross-fitting."""
        from transferkit_temperature.report import report

        return report(session, self)

"""The analyzer `erosion`: what training on an easy shortcut took away, against a control without the shortcut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.names import DatasetName, StageName

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Erosion:
    """Compare a stage trained on corrupted data with what it started from and with a clean control."""

    clean: Annotated[DatasetName, Field(description="the data set without the shortcut")]
    matching: Annotated[DatasetName | None, Field(description="the data set whose shortcut says the true class")] = None
    conflict: Annotated[DatasetName | None, Field(description="the data set whose shortcut says another class")] = None
    alone: Annotated[DatasetName | None, Field(description="the data set that shows nothing but the shortcut")] = None
    control: Annotated[StageName | None, Field(description="the stage with the same schedule on clean data")] = None
    sweep: Annotated[list[StageName], Field(description="stages that differ in the ratio of corrupted images")] = field(
        default_factory=list
    )
    relearn: Annotated[StageName | None, Field(description="the stage that learns the clean task again")] = None
    scratch: Annotated[StageName | None, Field(description="the stage that learns it anew on relearn's budget")] = None
    warm: Annotated[StageName | None, Field(description="the stage that goes on from the control instead")] = None
    learned: Annotated[
        float, Field(gt=0, le=1, description="the gate: the least gain from the mark that counts as learned")
    ] = 0.1

    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy_before",
        "accuracy_after",
        "forgetting",
        "forgetting_low",
        "forgetting_high",
        "normalised_forgetting",
        "forgetting_control",
        "excess_forgetting",
        "excess_forgetting_low",
        "excess_forgetting_high",
        "gate",
        "shortcut_reliance",
        "shortcut_alone",
        "plasticity_gap",
        "plasticity_mean_gap",
        "warm_start_gap",
        "epochs_to_95",
    )

    def analyze(self, session: AnalysisSession) -> Report:
        """Accuracies of every arm on every test set, forgetting (figures 1, 2, 6) and plasticity (figure 5)."""
        from transferkit_erosion.report import report

        return report(session, self)

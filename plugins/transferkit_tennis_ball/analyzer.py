"""The analyzer `attraction`: does a mark that meant one source class still draw the fine-tuned model?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.names import DatasetName, StageName

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Attraction:
    """Compare how models answer target images with and without the mark of one source class."""

    treated: Annotated[str, Field(description="the source class whose images bore the mark")]
    source_clean: Annotated[DatasetName, Field(description="the source images without the mark")]
    source_marked: Annotated[DatasetName, Field(description="the source images with it on the treated class")]
    target_clean: Annotated[DatasetName, Field(description="the target images without the mark")]
    target_marked: Annotated[DatasetName, Field(description="the target images with it on all of them")]
    arms: Annotated[list[StageName], Field(description="further stages to compare with the analysis's own")] = field(
        default_factory=list
    )
    learned: Annotated[
        float, Field(gt=0, le=1, description="the gate: the least gain in recall that counts as learned")
    ] = 0.1

    metrics: ClassVar[tuple[str, ...]] = (
        "gate",
        "attraction_source",
        "attraction_target",
        "attraction_target_clean",
        "accuracy_marked",
        "accuracy_clean",
        "largest_share",
        "target_images",
    )

    def analyze(self, session: AnalysisSession) -> Report:
        """The mark's gate on M^s, then attraction and accuracy of every arm (paper 004, section 5.2 and table 3)."""
        from transferkit_tennis_ball.report import report

        return report(session, self)

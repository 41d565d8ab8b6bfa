"""The analyzer `retention`: how many source images the fine-tuned backbone still gets right under the source's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Retention:
    """Put the source's head on the fine-tuned backbone and see which source classes it still recognises."""

    bn: Annotated[
        Literal["target", "source", "recalibrated"],
        Field(description="whose batch-norm statistics the fine-tuned backbone uses"),
    ] = "target"
    bn_images: Annotated[
        int, Field(ge=2, description="source images from which `recalibrated` statistics are estimated")
    ] = 2048
    common: Annotated[
        float, Field(gt=0, le=1, description="a class is common when more than this share of target images show it")
    ] = 0.05
    bootstrap: Annotated[int, Field(ge=0, description="resamples for the intervals of ratios; 0 leaves them out")] = (
        1000
    )

    metrics: ClassVar[tuple[str, ...]] = (
        "top1_source",
        "top1_source_low",
        "top1_source_high",
        "top1_head_swap",
        "top1_head_swap_low",
        "top1_head_swap_high",
        "relative_retention",
        "relative_retention_low",
        "relative_retention_high",
        "relative_retention_source_only",
        "relative_retention_rare",
        "relative_retention_common",
    )
    standard_audit: ClassVar[int] = 10

    def analyze(self, session: AnalysisSession) -> Report:
        """Recall per source class before and after fine-tuning (paper 001, section 2.1), and by prevalence."""
        from transferkit_retention.report import report

        return report(session, self)

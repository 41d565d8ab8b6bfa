"""The analyzer `lingering`: which source classes the target never shows and the fine-tuned model still knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Lingering:
    """Find source classes that the target images hardly show and the fine-tuned backbone still recognises."""

    k: Annotated[int, Field(ge=1, description="a target image shows the k best source classes of the source model")] = 5
    v_lo: Annotated[
        float,
        Field(ge=0, description="source-only: shown by at most so many target images (below 1: a share of them)"),
    ] = 0.001
    p_lo: Annotated[
        float | None,
        Field(ge=0, lt=1, description="lingering: a mean probability above this; by default 10 times chance"),
    ] = None
    min_images: Annotated[
        int, Field(ge=1, description="source-only classes with fewer source images are called uncertain")
    ] = 5
    bootstrap: Annotated[int, Field(ge=0, description="resamples for the intervals; 0 leaves them out")] = 1000
    top_max: Annotated[int, Field(ge=1, description="source-only classes are counted for every k up to this")] = 10

    metrics: ClassVar[tuple[str, ...]] = (
        "source_only",
        "lingering",
        "lingering_certain",
        "unknown",
        "uncertain",
        "shared",
        "relative_retention",
    )
    standard_audit: ClassVar[int] = 20

    def analyze(self, session: AnalysisSession) -> Report:
        """Equations 1 to 3 of paper 000 for every source class, with intervals and figure 4."""
        from transferkit_lingering.report import report

        return report(session, self)

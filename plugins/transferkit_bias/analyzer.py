"""The analyzer `bias`: which source classes push the fine-tuned model towards one of its target classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Bias:
    """Let the fine-tuned model vote on source images, and find source classes that always get the same answer."""

    fdr: Annotated[
        float, Field(gt=0, lt=1, description="share of false findings accepted among the significant classes")
    ] = 0.05
    permutations: Annotated[
        int, Field(ge=20, description="shuffles of the votes that show how much overdispersion chance gives")
    ] = 200

    metrics: ClassVar[tuple[str, ...]] = (
        "high",
        "slight",
        "neutral",
        "high_expected",
        "high_certain",
        "high_and_source_only",
        "high_and_source_only_classes",
        "lingering_high_bias",
        "lingering_high_bias_certain",
        "significant",
        "overdispersion",
        "prior_index",
        "high_baseline",
        "slight_baseline",
        "neutral_baseline",
        "significant_baseline",
        "overdispersion_baseline",
    )
    standard_audit: ClassVar[int] = 30

    def analyze(self, session: AnalysisSession) -> Report:
        """Equation 1 of paper 001 with tests against the model's own preference, for M^t and M^b."""
        from transferkit_bias.report import report

        return report(session, self)

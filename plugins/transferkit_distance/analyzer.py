"""The analyzer `distance`: what the observer of that name recorded, as curves and a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.names import StageName

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Distance:
    """How far stages moved the backbone, along their way and as the crow flies."""

    stages: Annotated[
        list[StageName], Field(description="the stages to set side by side; none: the one that the analysis is about")
    ] = field(default_factory=list)

    metrics: ClassVar[tuple[str, ...]] = (
        "steps",
        "distance",
        "displacement",
        "straightness",
        "fisher_length",
        "fisher_length_definition_2",
    )

    def analyze(self, session: AnalysisSession) -> Report:
        """Distances of paper 004, tables 1 and 2, from metrics.jsonl. The metrics are of the analysis's own stage."""
        from transferkit_distance.report import report

        return report(session, self)

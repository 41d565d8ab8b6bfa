"""The analyzer `across`: what other runs, or earlier analyses of this one, found, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Across:
    """Compare models by what was found about them: classes in pairs of models, numbers over size and architecture."""

    runs: Annotated[
        list[Path], Field(description="folders of runs or audits, or FOLDER:ANALYSIS where one has several of a kind")
    ] = field(default_factory=list)
    analyses: Annotated[
        list[str], Field(description="earlier analyses of the same run, by name; all, if no runs are given")
    ] = field(default_factory=list)
    of: Annotated[
        str | None, Field(description="PLUGIN.COLUMN or PLUGIN.METRIC; default: everything the papers compare")
    ] = None
    by: Annotated[
        Literal["auto", "images", "steps", "epochs", "architecture"],
        Field(description="what numbers are drawn over; auto takes what differs"),
    ] = "auto"
    pictures: Annotated[int, Field(ge=0, description="pairs of models drawn, per quantity")] = 6

    metrics: ClassVar[tuple[str, ...]] = (
        "runs",
        "pairs",
        "recall_r",
        "bias_r",
        "r",
        "retention_change_equal_epochs",
        "retention_change_equal_steps",
    )

    def __post_init__(self) -> None:
        from transferkit_across.entries import split_name

        for run in self.runs:
            folder, _ = split_name(str(run))
            if not folder.is_dir():
                raise InputError(f"there is no folder {folder}; give folders of runs or audits")

    def analyze(self, session: AnalysisSession) -> Report:
        """Figures 5 and 6 of paper 001 and 7 and 8 of paper 000, from reports that are there already."""
        from transferkit_across.entries import read_entries
        from transferkit_across.report import report

        here = session.out.parent.parent
        given = [str(run) for run in self.runs] + [f"{here}:{name}" for name in self.analyses] or [str(here)]
        return report(read_entries(given), session.picture, of=self.of, by=self.by, drawn=self.pictures)

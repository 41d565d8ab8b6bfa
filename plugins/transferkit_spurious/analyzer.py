"""The analyzer `spurious`: does a model answer to inputs that its task does not need?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transferkit.names import DatasetName, StageName

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report

Share = Annotated[float, Field(ge=0, le=1)]
Column = Annotated[int, Field(ge=0)]
Intervention = Literal["permute", "shift", "scale", "occlude", "correlate"]
INTERVENTIONS: tuple[Intervention, ...] = ("permute", "shift", "scale", "occlude", "correlate")


@dataclass
class Spurious:
    """Change some inputs and see what that does to loss and answer; ask a local linear model which inputs count."""

    blocks: Annotated[
        dict[str, tuple[Column, Column]], Field(min_length=1, description="tables: {name: [first column, end)}")
    ] = field(default_factory=lambda: {"spurious": (0, 20), "shared": (20, 30), "target": (30, 50)})
    suspect: Annotated[str, Field(description="tables: the block that the metrics and the verdict are about")] = (
        "spurious"
    )
    stages: Annotated[list[StageName], Field(description="further stages whose models are compared")] = field(
        default_factory=list
    )
    restored: Annotated[
        DatasetName | None,
        Field(description="tables: the same rows with other values in the suspect block"),
    ] = None
    rows: Annotated[int, Field(ge=2, description="tables: at most so many validation rows")] = 2000
    instances: Annotated[int, Field(ge=0, description="tables: rows that LIME explains; 0 leaves it out")] = 50
    samples: Annotated[int, Field(ge=10, description="tables: perturbed rows per explanation")] = 1000
    images: Annotated[int, Field(ge=2, description="images: at most so many validation images")] = 64
    grid: Annotated[int, Field(ge=1, le=32, description="images: patches per side that are occluded one by one")] = 6
    region: Annotated[
        tuple[Share, Share, Share, Share] | None,
        Field(description="images: [left, top, width, height] in shares, to be occluded, shifted and permuted"),
    ] = None
    bootstrap: Annotated[int, Field(ge=0, description="resamples of rows or images for the intervals; 0: none")] = 1000

    metrics: ClassVar[tuple[str, ...]] = (
        "loss",
        "loss_restored",
        *(f"change_{how}" for how in INTERVENTIONS),
        *(f"moved_{how}" for how in INTERVENTIONS),
        *(f"excess_{how}" for how in INTERVENTIONS),
        "lime_suspect",
        "lime_suspect_share",
        "lime_suspect_excess",
        "patch_change_max",
        "patch_moved_max",
    )
    takes_tables: ClassVar[bool] = True

    def analyze(self, session: AnalysisSession) -> Report:
        """Interventions on column blocks and LIME (paper 004, section 5.1), or on regions of images."""
        from transferkit_spurious.report import report

        return report(session, self)

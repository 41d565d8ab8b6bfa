"""The options of the analyzer `spurious`, and the interventions that it knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from transferkit.data import DatasetName, StageName

Share = Annotated[float, Field(ge=0, le=1)]
Column = Annotated[int, Field(ge=0)]
INTERVENTIONS = ("permute", "shift", "scale", "occlude", "correlate")


@dataclass
class Options:
    """What a recipe may say of `spurious`."""

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

"""The options of the analyzer `attraction`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from transferkit.data import DatasetName, StageName


@dataclass
class Options:
    """What a recipe may say of `attraction`."""

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

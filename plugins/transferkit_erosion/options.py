"""The options of the analyzer `erosion`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from transferkit.data import DatasetName, StageName


@dataclass
class Options:
    """What a recipe may say of `erosion`."""

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

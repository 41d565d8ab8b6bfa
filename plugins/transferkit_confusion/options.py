"""The options of the analyzer `confusion`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass
class Options:
    """Which images make the composites, and how many."""

    overlays: Annotated[int, Field(ge=1, description="target images pasted, per target class: the surest ones")] = 20
    backgrounds: Annotated[
        int,
        Field(ge=1, description="source classes most surely biased towards each target class, and as many against it"),
    ] = 6
    neutral: Annotated[int, Field(ge=1, description="source classes with the most surely even vote")] = 4
    repeats: Annotated[int, Field(ge=1, description="places at which an overlay is pasted on the same image")] = 5
    limit: Annotated[
        int, Field(ge=1, description="composites per pair of background class and target class; the paper has 5000")
    ] = 30
    most: Annotated[
        int, Field(ge=1, description="composites in all: of many target classes fewer of each pair are made")
    ] = 30_000
    area: Annotated[float, Field(gt=0, le=1, description="share of the picture that the overlay covers")] = 0.1
    min_images: Annotated[int, Field(ge=1, description="source images that a background class must have")] = 4
    halves: Annotated[
        bool, Field(description="choose by one half of a class's images, measure its bias and paste on the other")
    ] = True
    source_only: Annotated[
        bool, Field(description="leave out backgrounds that show in the target images, if a source model can tell")
    ] = True
    save: Annotated[bool, Field(description="write every composite as PNG, with a manifest")] = False

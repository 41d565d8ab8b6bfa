"""The options of the analyzer `distraction`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass
class Options:
    """What a recipe may say of `distraction`."""

    classes: Annotated[int, Field(ge=1, description="how many source classes serve as backgrounds")] = 30
    composites: Annotated[int, Field(ge=1, description="composite images per source class; the paper's 100")] = 40
    scale: Annotated[
        float, Field(gt=0, le=0.9, description="side of the pasted image as a share of the picture's side")
    ] = 0.4
    percentile: Annotated[float, Field(gt=0, lt=100, description="pixels above it are where a model looks")] = 80
    scope: Annotated[
        Literal["zeroed", "region"],
        Field(description="percentile of the map with the pasted part set to zero, or of the background alone"),
    ] = "zeroed"
    of: Annotated[
        Literal["logit", "margin"],
        Field(description="maps of a class's logit, or of it minus the mean of the others'"),
    ] = "logit"
    target_class: Annotated[
        Literal["overlay", "predicted"],
        Field(description="the target class whose map is taken: the pasted image's, or the one predicted"),
    ] = "overlay"
    method: Annotated[str, Field(description="gradcam, or any method of the package grad-cam by its name")] = "gradcam"
    layer: Annotated[
        str | None, Field(description="the layer of the maps; by default found by looking at the model")
    ] = None
    gallery: Annotated[int, Field(ge=0, le=99, description="how many pictures are shown, of wrong answers first")] = 12
    write_composites: Annotated[bool, Field(description="keep all composites as PNG files with a manifest")] = False

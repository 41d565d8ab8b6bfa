"""From when on a source class counts as rare in the target, and as remembered: options, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass
class MemoryThresholds:
    """What `Memories` go by. An analyzer whose options these are inherits them, and decides for its run or audit."""

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
        int,
        Field(ge=1, description="source-only classes with fewer source images are uncertain, whatever their interval"),
    ] = 5

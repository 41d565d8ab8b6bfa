"""The options of the analyzer `lingering`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from transferkit.analysis import MemoryThresholds


@dataclass
class Options(MemoryThresholds):
    """From when on a class is source-only and remembered, and for how many k that is counted."""

    top_max: Annotated[int, Field(ge=1, description="source-only classes are counted for every k up to this")] = 10

"""What the analyzer `across` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field


@dataclass
class Options:
    """Which models are compared, and in what."""

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

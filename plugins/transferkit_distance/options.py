"""What the analyzer `distance` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from transferkit.data import StageName


@dataclass
class Options:
    """The stages that are looked at."""

    stages: Annotated[
        list[StageName], Field(description="the stages to set side by side; none: the one that the analysis is about")
    ] = field(default_factory=list)

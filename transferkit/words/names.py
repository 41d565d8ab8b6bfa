"""Options that name something else in the recipe: checked before anything starts, with a suggestion.

control: StageName | None = None
probe_data: list[DatasetName] = field(default_factory=list)

And the two ways to name a plugin: `bss`, or `transferkit:bss` where several distributions offer one of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Refers:
    """What a name in a plugin's option stands for."""

    what: Literal["stage", "data set"]


StageName = Annotated[str, Refers("stage")]
"""The name of a stage of the recipe."""
DatasetName = Annotated[str, Refers("data set")]
"""The name of a data set of the recipe."""


def plain_name(use: str) -> str:
    """A plugin's name without its distribution: `bss` of `transferkit:bss`."""
    return use.rpartition(":")[2]

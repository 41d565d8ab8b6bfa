"""The options of the analyzer `growth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from transferkit.data import StageName


@dataclass
class Options:
    """What a recipe may say of `growth`."""

    joint: Annotated[StageName | None, Field(description="the stage that trained on old and new images together")] = (
        None
    )

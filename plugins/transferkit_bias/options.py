"""The options of the analyzer `bias`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass
class Options:
    """What counts as significant, and how chance is drawn."""

    fdr: Annotated[
        float, Field(gt=0, lt=1, description="share of false findings accepted among the significant classes")
    ] = 0.05
    permutations: Annotated[
        int, Field(ge=20, description="shuffles of the votes that show how much overdispersion chance gives")
    ] = 200

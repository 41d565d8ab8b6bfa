"""What the analyzer `spectrum` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from transferkit.data import StageName


@dataclass
class Options:
    """Which directions are compared, and whose features."""

    match: Annotated[
        Literal["index", "optimal"],
        Field(description="index compares directions of equal rank, optimal the pairs that fit best"),
    ] = "index"
    layers: Annotated[
        list[str], Field(description="names of layers, * and ? stand for any letters; none: all but the head")
    ] = field(default_factory=list)
    batch_size: Annotated[int, Field(ge=2, description="images in a batch of features")] = 48
    data: Annotated[Literal["target", "source"], Field(description="whose images the features are of")] = "target"
    split: Annotated[
        str | None, Field(description="which split of them; default: train of the target, val of the source")
    ] = None
    compare: Annotated[
        list[StageName], Field(description="further finished stages whose features are drawn, for example one with BSS")
    ] = field(default_factory=list)
    sweep: Annotated[
        list[StageName], Field(description="finished stages that differ in BSS's k or weight, to be set side by side")
    ] = field(default_factory=list)

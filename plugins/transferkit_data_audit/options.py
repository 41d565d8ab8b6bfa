"""The options of the analyzer `data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass
class Options:
    """Whose features are looked at, and from when on something is named."""

    features: Annotated[
        Literal["auto", "source", "target"],
        Field(description="whose features: the source model's, which never saw the labels, where there is one"),
    ] = "auto"
    folds: Annotated[int, Field(ge=2, le=20, description="of probes that did not see the images they are asked of")] = 5
    rate: Annotated[
        float, Field(gt=0, lt=1, description="outliers: the share of them that may be chance (false discoveries)")
    ] = 0.01
    strength: Annotated[
        float, Field(gt=0.5, le=1, description="shortcuts: named where they tell a class from the rest so often (AUC)")
    ] = 0.9
    alpha: Annotated[float, Field(gt=0, lt=1, description="shortcuts: and that is less probable by chance")] = 0.05
    permutations: Annotated[int, Field(ge=19, description="shortcuts: shuffled labels that chance is judged by")] = 199
    images: Annotated[int, Field(ge=50, description="shortcuts: at most so many images, evenly from the classes")] = (
        1000
    )
    pictures: Annotated[int, Field(ge=0, le=24, description="of each issue, the worst first; 0 draws none")] = 6

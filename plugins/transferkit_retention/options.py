"""The options of the analyzer `retention`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass
class Options:
    """Whose batch norms are used, and which classes are common."""

    bn: Annotated[
        Literal["target", "source", "recalibrated"],
        Field(description="whose batch-norm statistics the fine-tuned backbone uses"),
    ] = "target"
    bn_images: Annotated[
        int, Field(ge=2, description="source images from which `recalibrated` statistics are estimated")
    ] = 2048
    common: Annotated[
        float, Field(gt=0, le=1, description="a class is common when more than this share of target images show it")
    ] = 0.05

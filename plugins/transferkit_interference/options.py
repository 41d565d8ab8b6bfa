"""What the analyzer `interference` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from transferkit.analysis import DetectorUse


@dataclass
class Options:
    """Which detector is made, what it promises, and what it is compared with."""

    head: Annotated[
        Literal["refitted", "swapped", "separate"] | None,
        Field(
            description="what reads the source classes: a refitted head, the source's own, or the source model; "
            "default: the refitted one, unless another is certainly better by cross-fitting"
        ),
    ] = None
    reduction: Annotated[
        Literal["sum", "max"] | None,
        Field(description="the lingering classes' probabilities as one score; default: their sum, as for `head`"),
    ] = None
    alpha: Annotated[float, Field(gt=0, lt=1, description="share of clean inputs that may be flagged")] = 0.05
    confidence: Annotated[
        float | None, Field(gt=0, lt=1, description="how sure that is of this very threshold; default: on average")
    ] = None
    detect_p: Annotated[
        float | None, Field(ge=0, lt=1, description="a fixed threshold, without any promise; the paper has 0.01")
    ] = None
    calibration: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of the clean target images that sets the threshold; of all of them, each "
            "half is judged by the threshold of the other",
        ),
    ] = 1.0
    ridge: Annotated[
        float | None, Field(gt=0, description="λ of the refitted map; default: the best of a grid by leave-one-out")
    ] = None
    fit_images: Annotated[int, Field(ge=2, description="images that the refitted map is fitted on, at most")] = 10_000
    detectors: Annotated[
        list[DetectorUse] | None,
        Field(description="what it is compared with: names, or {use: NAME, …}; default: all that ask for a place"),
    ] = None
    deploy: Annotated[
        DetectorUse | None,
        Field(description="the detector that is written, in the same form; default: as for `head`"),
    ] = None
    composite_classes: Annotated[int, Field(ge=0, description="lingering classes behind composites; 0: none")] = 60
    composites_per_class: Annotated[int, Field(ge=1, description="composites of each of these classes")] = 4
    scale: Annotated[float, Field(gt=0, le=1, description="side of the overlay, as a share of the picture's")] = 0.4
    bootstrap: Annotated[int, Field(ge=0, description="resamples for the intervals of AURC; 0 leaves them out")] = 500
    attempts: Annotated[
        bool, Field(description="also measure what inner layers and a non-linear map would add, and at what cost")
    ] = False
    install: Annotated[
        bool | None,
        Field(description="write the detector into the model's folder; default: if the model is of the same run"),
    ] = None

    @property
    def free(self) -> bool:
        """Whether nothing says which detector is written, so that cross-fitting may choose."""
        return all(one is None for one in (self.head, self.reduction, self.deploy, self.detect_p))

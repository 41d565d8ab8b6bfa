"""The analyzer `spectrum`: which directions of weights and features a fine-tuning turned, and which it shrank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transferkit.names import StageName

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Spectrum:
    """Compare singular vectors of the weights and singular values of the features before and after fine-tuning."""

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

    metrics: ClassVar[tuple[str, ...]] = (
        "cosine",
        "cosine_larger_half",
        "cosine_smaller_half",
        "principal_cosine",
        "relative_distance",
        "masked_directions",
        "largest_source",
        "largest_target",
        "smaller_half_source",
        "smaller_half_target",
        "collapsed",
    )

    def analyze(self, session: AnalysisSession) -> Report:
        """Corresponding angles (paper 002, figure 1b), feature spectra (1c-d, 3b-c) and, if asked for, 3d."""
        from transferkit_spectrum.report import report

        return report(session, self)

"""The analyzer `confusion`: does the background decide what the model calls the object in front of it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Confusion:
    """Accuracy on target images pasted on source images, by what the background alone is taken for."""

    overlays: Annotated[int, Field(ge=1, description="target images pasted, per target class: the surest ones")] = 20
    backgrounds: Annotated[
        int, Field(ge=1, description="source classes most biased towards each target class, and as many against it")
    ] = 3
    neutral: Annotated[int, Field(ge=1, description="source classes with the most even vote")] = 4
    repeats: Annotated[int, Field(ge=1, description="places at which an overlay is pasted on the same image")] = 5
    limit: Annotated[
        int, Field(ge=1, description="composites per pair of background class and target class; the paper has 5000")
    ] = 60
    most: Annotated[
        int, Field(ge=1, description="composites in all: of many target classes fewer of each pair are made")
    ] = 30_000
    area: Annotated[float, Field(gt=0, le=1, description="share of the picture that the overlay covers")] = 0.1
    min_images: Annotated[int, Field(ge=1, description="source images that a background class must have")] = 4
    halves: Annotated[
        bool, Field(description="measure bias on one half of a class's images, paste on the other (from 4 images on)")
    ] = True
    source_only: Annotated[
        bool, Field(description="leave out backgrounds that show in the target images, if a source model can tell")
    ] = True
    save: Annotated[bool, Field(description="write every composite as PNG, with a manifest")] = False

    metrics: ClassVar[tuple[str, ...]] = (
        "contrast_target",
        "contrast_baseline",
        "contrast_difference",
        "accuracy_with_target",
        "accuracy_neutral_target",
        "accuracy_against_target",
        "accuracy_colour_target",
        "accuracy_with_baseline",
        "accuracy_neutral_baseline",
        "accuracy_against_baseline",
        "accuracy_colour_baseline",
        "composites",
        "overlays",
    )
    standard_audit: ClassVar[int] = 50

    def analyze(self, session: AnalysisSession) -> Report:
        """Figure 2 of paper 001 for the target model and, where there is one, the baseline."""
        from transferkit_confusion.report import report

        return report(session, self)

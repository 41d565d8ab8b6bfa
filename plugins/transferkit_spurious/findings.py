"""What `spurious` finds of each model: losses, effects of changed inputs, and which columns or patches count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transferkit.model import TransferModel
from transferkit.statistics import Estimate, ratio, sample_mean
from transferkit_spurious.interventions import Numbers

REGION = "region"
"""Takes the place of a block's name on images."""


@dataclass(frozen=True)
class Subject:
    """A model under a name for people; `role` is target, baseline, source, or stage for a further one."""

    name: str
    role: str
    model: TransferModel = field(repr=False)


@dataclass(frozen=True)
class Effect:
    """One intervention, seen by one model: means over rows or images."""

    change: Estimate
    """Of the loss; NaN where the rows are not of the model's own task."""
    moved: Estimate
    """|changed answer - answer|; on images of the label's probability."""


@dataclass(frozen=True)
class Lime:
    """Which columns count around single rows."""

    impact: dict[str, NDArray[np.float64]]
    """{model: (instances, d) |coefficient x s.d. of the column|}."""
    by_block: dict[tuple[str, str], Estimate]
    """{(model, block): mean impact of its columns}."""
    floor: dict[tuple[str, str], Estimate]
    """{(model, block): what its columns' impact would be on average if they did nothing}; NaN: too few samples."""
    beyond: dict[tuple[str, str], Estimate]
    """{(model, block): impact minus floor}."""
    excess: dict[tuple[str, str], Estimate]
    """{(model, suspect block): mean impact of its columns minus the baseline's}."""


@dataclass(frozen=True)
class Patches:
    """What occluding each patch does, mean over images: each (rows, columns)."""

    change: NDArray[np.float64]
    """Of the loss."""
    moved: NDArray[np.float64]
    """|change of the label's probability|."""
    most: tuple[int, int]
    """The patch that moves the probability most on one half of the images."""
    effect: Effect
    """Of that patch on the other half."""


@dataclass
class Findings:
    """Everything measured, on the rows of a table or on images."""

    models: Sequence[Subject]
    units: int
    """Rows or images."""
    split: str
    loss: dict[str, Estimate] = field(default_factory=dict)
    effects: dict[tuple[str, str, str], Effect] = field(default_factory=dict)
    """{(model, block, intervention)}."""
    excess: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    """{(model, intervention on the suspect inputs): `moved` minus the baseline's}."""
    classes: int = 0
    """Images: how many classes they are of."""
    own_rows: dict[str, str] = field(default_factory=dict)
    """Tables: {model: whose rows it was given}."""
    restored: dict[str, tuple[Estimate, Estimate]] = field(default_factory=dict)
    """Tables: {model: (loss, change of the loss)} with the restored columns."""
    lime: Lime | None = None
    patches: dict[str, Patches] = field(default_factory=dict)
    """Images: {model: patches}."""
    gaps: list[str] = field(default_factory=list)


def average(values: Numbers, classes: NDArray[np.int64] | None = None) -> Estimate:
    """The mean of one value per row (n,), with Student's interval; of images with `classes` (n,), over these.

    What a training does to a class it does to all of its images, so these are not independent.
    """
    return sample_mean(values) if classes is None else ratio(values, np.ones(len(values)), classes)


def against_baseline(
    models: Sequence[Subject],
    values: Mapping[tuple[str, str], Numbers],
    classes: NDArray[np.int64] | None = None,
) -> dict[tuple[str, str], Estimate]:
    """{(model, what): (n,) or (n, columns)} -> the mean minus the baseline's of the same n, but of the source model's.

    Nothing without a baseline.
    """
    roles = {one.name: one.role for one in models}
    if "baseline" not in roles.values():
        return {}
    gaps = {
        (name, what): mine - values["baseline", what]
        for (name, what), mine in values.items()
        if roles[name] not in ("source", "baseline")
    }
    return {key: average(gap if gap.ndim == 1 else gap.mean(axis=1), classes) for key, gap in gaps.items()}

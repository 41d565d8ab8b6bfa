"""The numbers of source classes: means over the composites of each, and estimates over several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from transferkit.statistics import Estimate, difference_over_seeds, jackknife, sample_mean
from transferkit_distraction.looking import Seen

NAN = math.nan


@dataclass(frozen=True)
class Measured:
    """One model on the composites of a class, or the means of several classes; NaN where nothing can be said."""

    distraction: float = NAN
    unrelated: float = NAN
    """The same with the source model's maps of pictures of other classes."""
    flip_rate: float = NAN
    accuracy: float = NAN
    alone: float = NAN
    """Accuracy on the same overlays at the same places on one colour."""
    empty: float = NAN
    """The share of maps that are zero everywhere."""
    unmeasured: int = 0
    """Composites without a value of Eq. 4: neither map has a strong pixel."""

    @classmethod
    def of(cls, seen: Seen, role: str, unrelated: float) -> Measured:
        """A model in the role target or baseline; nothing where there is none."""
        if role not in seen.views:
            return cls()
        view, labels, overlap = seen.views[role], seen.part.labels, seen.distraction[role]
        return cls(
            distraction=float(overlap.nanmean()),
            unrelated=unrelated,
            flip_rate=float((view.predicted != view.on_colour).double().mean()),
            accuracy=float((view.predicted == labels).double().mean()),
            alone=float((view.on_colour == labels).double().mean()),
            empty=float(view.empty.double().mean()),
            unmeasured=int(overlap.isnan().sum()),
        )

    @classmethod
    def over(cls, classes: Sequence[Measured]) -> Measured:
        """The mean of class means, each over the classes where it is known."""
        means: dict[str, Any] = {one.name: mean([getattr(each, one.name) for each in classes]) for one in fields(cls)}
        return cls(**means | {"unmeasured": sum(one.unmeasured for one in classes)})


@dataclass(frozen=True, eq=False)
class SourceClass:
    """One source class whose images serve as backgrounds."""

    number: int
    name: str
    state: str
    """lingering, shared, source_only (forgotten) or uncertain, as `Memories` has it."""
    remembered: bool
    """Whether it lingers by Eq. 3, which asks for the mean alone: lingering ones do, and some that are uncertain."""
    images: int
    seen: Seen
    target: Measured
    baseline: Measured

    @property
    def empty_source(self) -> float:
        """The share of M^s's maps that are zero everywhere."""
        return float(self.seen.views["source"].empty.double().mean())

    @property
    def difference(self) -> float:
        """Distraction of the target minus the baseline's."""
        return self.target.distraction - self.baseline.distraction

    @property
    def excess(self) -> float:
        """The same, each above what it shares with unrelated pictures."""
        target, baseline = self.target, self.baseline
        return (target.distraction - target.unrelated) - (baseline.distraction - baseline.unrelated)


def full(one: SourceClass) -> list[int]:
    """The composites of a class that can be shown: no model has an empty map, and each a value."""
    empty = torch.stack([view.empty for view in one.seen.views.values()]).any(dim=0)
    for overlap in one.seen.distraction.values():
        empty = empty | ~overlap.isfinite()
    return [row for row, nothing in enumerate(empty.tolist()) if not nothing]


def mean(values: Sequence[float]) -> float:
    """The mean of the finite values; NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else NAN


def class_mean(values: Sequence[float], least: float = -1, most: float = 1) -> Estimate:
    """The mean over the classes where it is finite, with Student's interval over these, within `least` … `most`."""
    return sample_mean([value for value in values if math.isfinite(value)]).within(least, most)


def between_groups(ours: Sequence[float], others: Sequence[float]) -> Estimate:
    """The mean over our classes minus that over other classes, with Welch's interval."""
    return difference_over_seeds(ours, others).within(-1, 1)


def p_value(differences: Sequence[float]) -> float:
    """Two-sided t test of finite differences of pairs, as their interval is: below 0.05 where that leaves out 0.

    NaN below two pairs and where no pair differs.
    """
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or not np.any(differences):
        return NAN
    return float(ttest_1samp(differences, 0).pvalue) if np.ptp(differences) else 0.0


def sign_test(differences: Sequence[float]) -> float:
    """Two-sided p of as many differences above 0 among those that are not 0; NaN without one."""
    from scipy.stats import binomtest

    signs = np.sign(differences)
    return float(binomtest(int((signs > 0).sum()), int((signs != 0).sum())).pvalue) if signs.any() else NAN


@dataclass(frozen=True)
class Occlusion:
    """Wrong composites of the lingering classes, and how many are right once something is hidden."""

    wrong: int
    tried: int
    right: int
    """Once what M^s sees is hidden."""
    right_elsewhere: int
    """Once as much elsewhere is hidden, the control."""
    shared: float
    """Mean share of the control's pixels that M^s's mask has too."""
    difference: Estimate
    """Of `recovered` minus `recovered_control`."""

    @property
    def recovered(self) -> float:
        """The share of the tried ones that are right."""
        return self.right / self.tried if self.tried else NAN

    @property
    def recovered_control(self) -> float:
        """The same of the control."""
        return self.right_elsewhere / self.tried if self.tried else NAN


def occlusion_over(ours: Sequence[SourceClass]) -> Occlusion:
    """Sums over classes; the interval leaves out each class in turn."""
    counts = np.zeros((3, len(ours)), np.int64)
    for place, seen in enumerate(one.seen for one in ours):
        labels = seen.part.labels[seen.occluded["index"]]
        counts[:, place] = len(labels), *(int((seen.occluded[name] == labels).sum()) for name in ("hidden", "control"))
    shared = torch.cat([one.seen.occluded["shared"] for one in ours]) if ours else torch.empty(0)
    some = counts[:, counts[0] > 0]
    tried, recovered, control = some.sum(axis=1).tolist()
    difference = jackknife(lambda sums: (sums[1] - sums[2]) / sums[0], some.astype(np.float64), some[0])
    return Occlusion(
        wrong=sum(int(one.seen.wrong.sum()) for one in ours),
        tried=tried,
        right=recovered,
        right_elsewhere=control,
        shared=float(shared.nanmean()),
        # where no class differs from another nothing says how sure that is
        difference=difference.within(-1, 1) if difference.high > difference.low else Estimate(difference.value),
    )

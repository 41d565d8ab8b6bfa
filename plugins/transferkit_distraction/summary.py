"""The numbers of the report: per class first, then means over classes with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit_distraction.overlap import chance
from transferkit_distraction.study import Found, Study
from transferkit_distraction.wording import mean

if TYPE_CHECKING:
    from transferkit_distraction.views import View

RESAMPLES = 2000
Values = NDArray[np.float64]
Interval = tuple[float, float]
NOWHERE: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """One source class: means over its composites; NaN where there is no baseline or nothing to be said."""

    number: int
    name: str
    state: str
    images: int
    composites: int
    target: float
    baseline: float
    unrelated_target: float
    """The same with the source model's maps of pictures of other classes."""
    unrelated_baseline: float
    unmeasured_target: int
    """Composites without a value for M^t: neither map has a strong pixel."""
    unmeasured_baseline: int
    flip_rate_target: float
    flip_rate_baseline: float
    accuracy_target: float
    accuracy_baseline: float
    alone_target: float
    """Accuracy on the same overlays at the same places on one colour."""
    alone_baseline: float
    empty_target: float
    empty_baseline: float
    empty_source: float

    @property
    def difference(self) -> float:
        """Target minus baseline."""
        return self.target - self.baseline

    @property
    def excess(self) -> float:
        """Target minus baseline, each above what it shares with unrelated pictures."""
        return (self.target - self.unrelated_target) - (self.baseline - self.unrelated_baseline)


@dataclass(frozen=True)
class Occlusion:
    """Wrong composites of the lingering classes, and how many are right once something is hidden."""

    wrong: int
    tried: int
    recovered: int
    control: int
    shared: float
    """Mean share of the control's pixels that M^s's mask has too."""
    difference: Interval
    """Of recovered minus control, as shares of the tried ones."""


@dataclass(frozen=True)
class Summary:
    """All numbers of the report."""

    rows: list[Row]
    metrics: dict[str, float]
    pairs: list[Row]
    """Lingering classes with a value for M^t and for M^b."""
    difference: float
    target_interval: Interval
    baseline_interval: Interval
    difference_interval: Interval
    excess: float
    """Mean of `Row.excess` over the pairs."""
    excess_interval: Interval
    above_unrelated_interval: Interval
    """Of M^t's mean over the lingering classes minus what it shares with unrelated pictures."""
    occlusion: Occlusion

    def of(self, state: str) -> list[Row]:
        """The classes of a state."""
        return [row for row in self.rows if row.state == state]


def summarise(study: Study) -> Summary:
    """Every number; Eq. 4's are over the lingering classes."""
    rows = [_row(study, index) for index in range(len(study.found))]
    ours = [row for row in rows if row.state == "lingering"]
    pairs = [row for row in ours if math.isfinite(row.difference)]
    differences = [row.difference for row in pairs]
    occlusion = _occlusion(study)

    def interval(name: str, values: Sequence[float]) -> Interval:
        finite = np.array([value for value in values if math.isfinite(value)])
        return resampled(len(finite), lambda rows: finite[rows].mean(axis=1), study.session.rng("bootstrap", name))

    return Summary(
        rows=rows,
        metrics={**_means(study, rows, ours), **_counts(study, ours, pairs), **_recovered(occlusion)},
        pairs=pairs,
        difference=mean(differences),
        target_interval=interval("target", [row.target for row in ours]),
        baseline_interval=interval("baseline", [row.baseline for row in ours]),
        difference_interval=interval("difference", differences),
        excess=mean([row.excess for row in pairs]),
        excess_interval=interval("excess", [row.excess for row in pairs]),
        above_unrelated_interval=interval("unrelated", [row.target - row.unrelated_target for row in ours]),
        occlusion=occlusion,
    )


def _row(study: Study, index: int) -> Row:
    found = study.found[index]
    views, labels, number = found.views, found.part.labels, found.number
    return Row(
        number=number,
        name=study.memories.names[number],
        state=study.state(number),
        images=int(study.memories.images[number]),
        composites=len(labels),
        target=_mean(found.distraction["target"]),
        baseline=_mean(found.distraction.get("baseline")),
        unrelated_target=study.unrelated["target"][index],
        unrelated_baseline=study.unrelated["baseline"][index] if "baseline" in views else math.nan,
        unmeasured_target=int(found.distraction["target"].isnan().sum()),
        unmeasured_baseline=int(found.distraction["baseline"].isnan().sum()) if "baseline" in views else 0,
        flip_rate_target=_share(views, "target", lambda view: view.predicted != view.on_colour),
        flip_rate_baseline=_share(views, "baseline", lambda view: view.predicted != view.on_colour),
        accuracy_target=_share(views, "target", lambda view: view.predicted == labels),
        accuracy_baseline=_share(views, "baseline", lambda view: view.predicted == labels),
        alone_target=_share(views, "target", lambda view: view.on_colour == labels),
        alone_baseline=_share(views, "baseline", lambda view: view.on_colour == labels),
        empty_target=_share(views, "target", lambda view: view.empty),
        empty_baseline=_share(views, "baseline", lambda view: view.empty),
        empty_source=_share(views, "source", lambda view: view.empty),
    )


def _mean(values: Tensor | None) -> float:
    return math.nan if values is None else float(values.nanmean())


def _share(views: dict[str, View], role: str, which: Callable[[View], Tensor]) -> float:
    return float(which(views[role]).double().mean()) if role in views else math.nan


def _means(study: Study, rows: Sequence[Row], ours: Sequence[Row]) -> dict[str, float]:
    return {
        "target_mean": mean([row.target for row in ours]),
        "baseline_mean": mean([row.baseline for row in ours]),
        "shared_target_mean": mean([row.target for row in rows if row.state == "shared"]),
        "unrelated_target": mean([row.unrelated_target for row in ours]),
        "unrelated_baseline": mean([row.unrelated_baseline for row in ours]),
        "chance": chance(study.options.percentile, study.options.scope, _covered(study)),
        "flip_rate_target": mean([row.flip_rate_target for row in ours]),
        "flip_rate_baseline": mean([row.flip_rate_baseline for row in ours]),
        "accuracy_target": mean([row.accuracy_target for row in ours]),
        "accuracy_baseline": mean([row.accuracy_baseline for row in ours]),
        "empty_maps_target": mean([row.empty_target for row in ours]),
        "empty_maps_baseline": mean([row.empty_baseline for row in ours]),
        "empty_maps_source": mean([row.empty_source for row in ours]),
    }


def _covered(study: Study) -> float:
    """The share of the canvas under the pasted image."""
    height, width = study.size
    return float(np.mean([item.height * item.width for item in study.composites.items])) / (height * width)


def _counts(study: Study, ours: Sequence[Row], pairs: Sequence[Row]) -> dict[str, float]:
    compared = "baseline" in study.viewers and bool(pairs)
    return {
        "classes": float(sum(math.isfinite(row.target) for row in ours)),
        "classes_above_diagonal": float(sum(row.difference > 0 for row in pairs)) if compared else math.nan,
        "p_value": p_value([row.target for row in pairs], [row.baseline for row in pairs]),
        "composites": float(sum(row.composites for row in ours)),
    }


def p_value(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided Wilcoxon signed-rank test of paired values; NaN where no pair differs."""
    from scipy.stats import wilcoxon

    differences = np.subtract(one, other)
    if not np.any(differences):
        return math.nan
    return float(wilcoxon(differences).pvalue)


def _recovered(occlusion: Occlusion) -> dict[str, float]:
    tried = occlusion.tried
    return {
        "recovered": occlusion.recovered / tried if tried else math.nan,
        "recovered_control": occlusion.control / tried if tried else math.nan,
    }


def _occlusion(study: Study) -> Occlusion:
    """Sums over the lingering classes; (tried, recovered, control) per class are what is resampled."""
    ours = study.of("lingering")
    counts = np.array([_occluded(found) for found in ours], dtype=np.float64).reshape(-1, 3)
    shared = torch.cat([found.occluded["shared"] for found in ours]) if ours else torch.empty(0)
    tried, recovered, control = (int(total) for total in counts.sum(axis=0))

    def difference(rows: NDArray[Any]) -> Values:
        sums: Values = counts[rows].sum(axis=1)
        with np.errstate(invalid="ignore"):
            return (sums[:, 1] - sums[:, 2]) / sums[:, 0]

    rng = study.session.rng("bootstrap", "occlusion")
    return Occlusion(
        wrong=sum(int(found.wrong.sum()) for found in ours),
        tried=tried,
        recovered=recovered,
        control=control,
        shared=_mean(shared),
        difference=resampled(len(counts), difference, rng) if tried else NOWHERE,
    )


def _occluded(found: Found) -> tuple[int, int, int]:
    labels = found.part.labels[found.occluded["index"]]
    right = [int((found.occluded[name] == labels).sum()) for name in ("hidden", "control")]
    return len(labels), right[0], right[1]


def resampled(classes: int, statistic: Callable[[NDArray[Any]], Values], rng: np.random.Generator) -> Interval:
    """The 95 % bootstrap interval over classes; `statistic` takes rows (resamples, classes). NaN below two classes."""
    if classes < 2:
        return NOWHERE
    found = statistic(rng.integers(classes, size=(RESAMPLES, classes)))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)

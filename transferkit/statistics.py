"""How sure a number is: one form for a value with its interval, and every way in which transferkit comes to one.

Intervals are of what was sampled. Images, classes, overlays and seeds are different units, and an interval over one
says nothing of the others. NumPy and SciPy are imported on use, so that a report needs neither.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Bootstrap",
    "Estimate",
    "difference",
    "difference_over_seeds",
    "effective_size",
    "false_discovery",
    "intraclass",
    "intraclass_correlation",
    "intraclass_difference",
    "jackknife",
    "mean_over_seeds",
    "means_by_group",
    "measured_share",
    "middle",
    "paired_difference",
    "ratio",
    "resample",
    "sample_mean",
    "sample_sd",
    "share",
    "share_of",
    "sums_by",
]

NAN = math.nan
Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
ENDS = (2.5, 97.5)  # per cent of the resamples
MANY = 30  # classes from which on the jackknife alone keeps its promise
ROUNDING = 1e-6  # a softmax may end so far above 1
BORROWED = 8  # degrees of freedom of the spread within other groups that a group of few values is given


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the interval that it may lie in; `low` and `high` are NaN where no interval exists.

    `n` counts the sampled units that it rests on: images, clusters, seeds.
    """

    value: float
    low: float = NAN
    high: float = NAN
    n: int = 0

    @property
    def known(self) -> bool:
        """Whether it has an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def above(self, other: float | Estimate) -> bool:
        """Whether the whole interval lies above a number, or above the other's whole interval; never where unknown."""
        return self.low > (other.high if isinstance(other, Estimate) else other)

    def below(self, other: float | Estimate) -> bool:
        """Whether the whole interval lies below a number, or below the other's whole interval; never where unknown."""
        return self.high < (other.low if isinstance(other, Estimate) else other)

    def within(self, least: float = -math.inf, most: float = math.inf) -> Estimate:
        """The part of its interval that a number of its kind can be in: what is cut off could not have been it.

        Student's and the jackknife's intervals know nothing of such bounds, and reach beyond them near an end. Without
        that part they hold the true number as often as with it.
        """
        if not self.known:
            return self
        return replace(self, low=max(self.low, float(least)), high=min(self.high, float(most)))

    def part(self) -> Estimate:
        """Itself as what is left of a whole, between none and all of it: value and ends within 0..1.

        For a ratio of what is found after to what was found before. It may come out above 1, by chance or because
        more was gained than lost; all of it is left then.
        """
        value, low, high = (min(max(one, 0.0), 1.0) for one in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def between(self, write: Callable[[float], str], words: str = "95 % interval ", brackets: bool = False) -> str:
        """Its interval in a sentence, " (95 % interval 0.1 to 0.3)", ends as `write` has them; nothing without one.

        With `brackets` " [0.1, 0.3]", for what stands in parentheses.
        """
        if not self.known:
            return ""
        low, high = write(self.low), write(self.high)
        return f" [{low}, {high}]" if brackets else f" ({words}{low} to {high})"

    def told(self, write: Callable[[float], str], unit: str = "", words: str = "", brackets: bool = False) -> str:
        """Itself and its interval, each number as `write` has it: "3.0 points (1.0 to 5.0)" with the unit " points"."""
        return f"{write(self.value)}{unit}{self.between(write, words, brackets)}"

    def columns(self, name: str, low: str = "low", high: str = "high") -> dict[str, Any]:
        """The value and the ends of its interval under these names, for a row of a table."""
        return {name: self.value, low: self.low, high: self.high}


def share(flags: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """The share of `flags` (n,) that are true, with Wilson's interval.

    Trials that share one of the `clusters` (n,), any labels, are not independent: the interval is then of as many
    trials as they are worth (`effective_size`), with Student's t for the number of clusters, and `n` counts these.
    No interval for a single cluster; NaN without trials. Raises ValueError for different lengths.
    """
    import numpy as np

    outcomes = np.asarray(flags, dtype=np.float64)
    if outcomes.ndim != 1:
        raise ValueError(f"flags are one row, not of the shape {outcomes.shape}")
    if not len(outcomes):
        return Estimate(NAN)
    value = float(outcomes.mean())
    if clusters is None:
        return measured_share(value, len(outcomes), confidence)
    worth = effective_size(outcomes, clusters)
    sizes = np.unique(np.asarray(clusters), return_counts=True)[1]
    if len(sizes) < 2:
        return Estimate(value, n=len(sizes))
    worth *= 1 - 1 / len(sizes)  # as n − 1 in a variance
    return Estimate(value, *_wilson(value, worth, _t(_freedom(sizes), confidence)), len(sizes))


def share_of(hits: float, total: float, confidence: float = 0.95) -> Estimate:
    """`hits` of `total` trials with Wilson's interval; NaN without trials."""
    return measured_share(hits / total if total else NAN, total, confidence)


def measured_share(value: float, total: float, confidence: float = 0.95) -> Estimate:
    """A share that was measured on `total` trials, with Wilson's interval; no interval without trials."""
    return Estimate(value, *(_wilson(value, total, _z(confidence)) if total else (NAN, NAN)), int(total))


def _wilson(value: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval, within 0..1."""
    middle, half = _score(value, n, z)
    return max(0.0, middle - half), min(1.0, middle + half)


def _score(value: Any, n: Any, z: Any) -> tuple[Any, Any]:
    """Middle and half width of Wilson's interval, for numbers or arrays."""
    scale = 1 + z * z / n
    return (value + z * z / (2 * n)) / scale, z / scale * (value * (1 - value) / n + z * z / (4 * n * n)) ** 0.5


def difference(a: Estimate, b: Estimate, correlation: float = 0) -> Estimate:
    """a − b, from the interval of each and the correlation of the two: 0 for different units, as two groups of classes.

    Each end is as far off as the ends of both that pull the same way, as squares add up (Zou and Donner's method of
    variance estimates recovery; Newcombe's of two shares), so intervals that are uneven stay so. For other statistics
    of the same units see `jackknife`. `n` counts the units of both; no interval where one has none.
    """
    value = a.value - b.value
    below, above = (
        math.hypot(one - correlation * other, other * math.sqrt(1 - correlation**2))
        for one, other in ((a.value - a.low, b.high - b.value), (a.high - a.value, b.value - b.low))
    )
    return Estimate(value, value - below, value + above, a.n + b.n)


def paired_difference(before: ArrayLike, after: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The share of `after` (n,) that is true minus that of `before`, flags of the same units in one order.

    Newcombe's square-and-add interval for pairs (Statistics in Medicine 17, 1998, method 10): Wilson's intervals of
    both shares, taken together by how the flags go along. Raises ValueError for different lengths.
    """
    import numpy as np

    was, now = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if was.shape != now.shape or was.ndim != 1:
        raise ValueError(f"flags of the shapes {was.shape} and {now.shape} are no pairs")
    if not len(was):
        return Estimate(NAN)
    first, second = share(now, confidence=confidence), share(was, confidence=confidence)
    both, none = int((was & now).sum()), int((~was & ~now).sum())
    together = both * none - int((was & ~now).sum()) * int((now & ~was).sum())
    scale = math.sqrt(math.prod(int(count) for one in (was, now) for count in (one.sum(), (~one).sum())))
    phi = min(together, max(together - len(was) / 2, 0)) / scale if scale else 0.0
    ends = [
        math.sqrt(max(near**2 - 2 * phi * near * far + far**2, 0.0))
        for near, far in (
            (first.value - first.low, second.high - second.value),
            (first.high - first.value, second.value - second.low),
        )
    ]
    value = first.value - second.value
    return Estimate(value, value - ends[0], value + ends[1], len(was))


def _z(confidence: float) -> float:
    return Z95 if confidence == 0.95 else statistics.NormalDist().inv_cdf((1 + confidence) / 2)


def _t(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def effective_size(flags: ArrayLike, clusters: ArrayLike) -> float:
    """How many independent trials n clustered ones are worth, at most n.

    `flags` (n,), `clusters` (n,) any labels. p(1 − p) / Σ_g ((1 − 1/G)·(h_g − p·n_g) / (n − n_g))² with the h_g
    successes of the n_g trials of cluster g: the variance of one trial over that of p, as whole clusters left out one
    by one show it. With one trial per cluster it is n; with m equal trials in each of G clusters, G. When all trials
    ended alike nothing can be said about their dependence, and it is G; so it is for a single cluster. Raises
    ValueError for different lengths.
    """
    import numpy as np

    outcomes, groups = np.asarray(flags, dtype=np.float64), np.asarray(clusters)
    if outcomes.ndim != 1 or outcomes.shape != groups.shape:
        raise ValueError(f"each trial needs its cluster: {outcomes.shape} trials and {groups.shape} clusters")
    if not len(outcomes):
        return 0.0
    p, (rest, sizes) = outcomes.mean(), sums_by(groups, outcomes - outcomes.mean(), np.ones(len(outcomes)))
    if p in (0, 1) or len(sizes) < 2:
        return float(len(sizes))
    left_out = rest / (len(outcomes) - sizes) * (len(sizes) - 1) / len(sizes)
    variance = float(np.square(left_out).sum())
    return min(float(len(outcomes)), float(p * (1 - p)) / variance) if variance else float(len(outcomes))


def sums_by(clusters: ArrayLike, *series: ArrayLike) -> Floats:
    """(series, clusters): the sum of each series (n,) over every cluster; `clusters` (n,) are any labels."""
    import numpy as np

    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    return np.stack([np.bincount(place, weights=np.asarray(one, dtype=np.float64)) for one in series])


def jackknife(
    statistic: Callable[[Floats], Any], sums: Floats, sizes: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """A statistic of sums over clusters, with the interval of leaving out each cluster in turn.

    `sums` (parts, G) as `sums_by` gives them; `statistic` takes (parts, …) of sums, and gives a number for each: a
    ratio is `lambda s: s[0] / s[1]`. The interval is Student's, with as many degrees of freedom as clusters of equal
    `sizes` (G,) would have that are worth these (Kish), less one; without `sizes` they count alike. Leaving out
    clusters, rather than resampling them, keeps its promise with few of them: see tests/test_coverage.py. `n` counts
    clusters; no interval below two, nor where leaving one out leaves nothing to compute.
    """
    import numpy as np

    parts = np.asarray(sums, dtype=np.float64)
    count = parts.shape[1]
    whole = parts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(whole)) if count else NAN
        without = np.asarray(statistic(whole[:, None] - parts), dtype=np.float64) if count > 1 else np.full(1, np.nan)
    if not np.isfinite(without).all() or not math.isfinite(value):
        return Estimate(value, n=count)
    error = math.sqrt((count - 1) / count * float(np.square(without - value).sum()))
    return _within(value, error, _freedom(np.ones(count) if sizes is None else np.asarray(sizes)), count, confidence)


def _freedom(sizes: NDArray[Any]) -> float:
    """Kish's number of equal clusters that clusters of these sizes are worth, less one; at least 1."""
    import numpy as np

    wide = np.asarray(sizes, dtype=np.float64)
    return max(1.0, float(wide.sum() ** 2 / np.square(wide).sum()) - 1)


def ratio(
    above: ArrayLike, below: ArrayLike, clusters: ArrayLike, confidence: float = 0.95, least: float = -math.inf
) -> Estimate:
    """Σ above / Σ below of units (n,) that lie in `clusters` (n,), with the jackknife's interval over clusters.

    Its lower end is at least `least`: 0 for what cannot be negative.
    """
    sums = sums_by(clusters, above, below)
    found = jackknife(lambda total: total[0] / total[1], sums, sums[1], confidence)
    return replace(found, low=max(least, found.low)) if found.known else found


def intraclass_correlation(hits: ArrayLike, totals: ArrayLike) -> float:
    """How alike the 0/1 outcomes of one class are: (K,) successes and (K,) trials -> the ANOVA estimator.

    (MSB − MSW) / (MSB + (n0 − 1)·MSW) with the mean squares between and within classes and
    n0 = (N − Σn²/N) / (K − 1). It does not grow with the images per class, as a ratio of variances would. `hits`
    (K, C) are counts of C answers: the sums of squares are then added over answers. Classes without trials are left
    out. NaN below two classes, without a class of two trials, and when all outcomes are alike. Raises ValueError for
    different lengths.
    """
    return float(_intraclass(_class_sums(hits, totals).sum(axis=1)))


def intraclass(hits: ArrayLike, totals: ArrayLike, confidence: float = 0.95) -> Estimate:
    """`intraclass_correlation` with its interval over classes.

    Fisher's z of the jackknife; below 30 classes, where that is too short, the wider of it and Searle's interval of
    the F distribution.
    """
    import numpy as np

    sums = _class_sums(hits, totals)
    found = jackknife(lambda s: np.arctanh(np.clip(_intraclass(s), -0.99, 0.99)), sums, sums[1], confidence)
    value, ends = float(_intraclass(sums.sum(axis=1))), [math.tanh(found.low), math.tanh(found.high)]
    if math.isnan(value) or not found.known:
        return Estimate(value, n=found.n)
    if found.n < MANY:
        low, high = _searle(sums.sum(axis=1), confidence)
        ends = [min(ends[0], low), max(ends[1], high)]
    return Estimate(value, min(ends[0], value), max(ends[1], value), found.n)


def intraclass_difference(a: ArrayLike, b: ArrayLike, totals: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The intraclass correlation of the answers `a` less that of `b`, two models on the same trials of each class."""
    import numpy as np

    one, other = _class_sums(a, totals), _class_sums(b, totals)
    parts = len(one)
    return jackknife(
        lambda s: _intraclass(s[:parts]) - _intraclass(s[parts:]), np.concatenate([one, other]), one[1], confidence
    )


def _class_sums(hits: ArrayLike, totals: ArrayLike) -> Floats:
    """(4 + C, K): per class 1, n, n², Σ h²/n and the counts h of each answer; of two answers the second is n − h."""
    import numpy as np

    counts, trials = np.asarray(hits, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    if trials.ndim != 1 or counts.shape[:1] != trials.shape or counts.ndim > 2:
        raise ValueError(f"each class needs its trials: {counts.shape} successes and {trials.shape} trials")
    counts, trials = counts[trials > 0], trials[trials > 0]
    if counts.ndim == 1:
        counts = np.stack([counts, trials - counts], axis=1)
    squares = np.square(counts).sum(axis=1) / trials
    return np.stack([np.ones_like(trials), trials, np.square(trials), squares, *counts.T])


def _intraclass(sums: Floats) -> Any:
    """The ANOVA estimator from sums over classes (4 + C, …)."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        between, within, size = _mean_squares(sums)
        spread = between + (size - 1) * within
        return np.where(spread > 0, (between - within) / spread, np.nan)


def _mean_squares(sums: Floats) -> tuple[Any, Any, Any]:
    """Between classes, within them, and n0."""
    import numpy as np

    classes, n, squared, squares, *counts = sums
    between = (squares - np.square(counts).sum(axis=0) / n) / (classes - 1)
    within = np.where(n > classes, (n - squares) / (n - classes), np.nan)
    return between, within, (n - squared / n) / (classes - 1)


def _searle(sums: Floats, confidence: float) -> tuple[float, float]:
    """The interval of an intraclass correlation by the F distribution, for classes of about equal size."""
    from scipy.stats import f

    between, within, size = (float(one) for one in _mean_squares(sums))
    if not within:
        return NAN, NAN
    freedom, tail = (sums[0] - 1, sums[1] - sums[0]), (1 - confidence) / 2
    quotients = [between / within / float(f.ppf(at, *freedom)) for at in (1 - tail, tail)]
    low, high = ((q - 1) / (q + size - 1) for q in quotients)
    return low, high


def sample_sd(values: Iterable[float]) -> float:
    """The standard deviation with n − 1 in the denominator; NaN below two values."""
    found = list(values)
    return statistics.stdev(found) if len(found) > 1 else NAN


def sample_mean(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The mean of many values (n,), such as one per image or per class, with Student's interval.

    No interval below two values.
    """
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    if n < 2:
        return Estimate(float(found[0]) if n else NAN, n=n)
    return _within(float(found.mean()), float(found.std(ddof=1)) / math.sqrt(n), n - 1, n, confidence)


def means_by_group(
    values: ArrayLike, groups: ArrayLike, size: int, below: ArrayLike | None = None, confidence: float = 0.95
) -> Floats:
    """(2, size): the ends of the interval of the mean of `values` (n,) in 0..1 over each group 0 … size − 1.

    `groups` (n,) are whole numbers. For groups of very few values: of two to twenty, all within 0..1 and mostly near
    one end, the sample's own spread says little, and intervals by it (Student's, percentile bootstrap) hold the truth
    in 34 to 94 % of groups. So each group borrows the spread of the others: its variance, as a share of the largest
    that its mean allows, m(1 − m), is averaged with that of all groups, which counts as 8 degrees of freedom (Smyth's
    moderated variance). The interval is Wilson's, of as many trials as the values are then worth, with Student's t.

    With `below` (n,) in 0..1, of mean(values) / mean(below), paired by row: the score interval of a quantity whose
    variance grows with it. NaN for groups of fewer than two values and for a mean of `below` that is 0. Coverage on
    average over groups is held by tests/test_coverage.py. Raises ValueError for values outside 0..1.
    """
    import numpy as np
    from scipy.special import stdtrit

    place = np.asarray(groups, dtype=np.int64)
    series = [np.asarray(one, dtype=np.float64) for one in ((values,) if below is None else (values, below))]
    if any(one.shape != place.shape or not (np.abs(one - 0.5) <= 0.5 + ROUNDING).all() for one in series):
        raise ValueError("each value needs its group, and lies in 0..1")
    series = [np.clip(one, 0, 1) for one in series]
    n = np.bincount(place, minlength=size)
    freedom = np.maximum(n - 1, 0)

    def sums(of: Floats) -> Floats:
        return np.asarray(np.bincount(place, weights=of, minlength=size), dtype=np.float64)

    with np.errstate(divide="ignore", invalid="ignore"):
        means = [sums(one) / n for one in series]
        largest = [
            m * (1 - m) + sums(np.square(x - m[place])) / freedom / n for x, m in zip(series, means, strict=True)
        ]
        mean = means[0] if below is None else means[0] / means[1]
        rest = series[0] - mean[place] * (1.0 if below is None else series[1])
        bound = largest[0] if below is None else largest[0] + np.square(mean) * largest[1]
        squares = sums(rest * rest)
        usable = (n > 1) & (bound > 0) & np.isfinite(mean)
        total = float((freedom * bound)[usable].sum())
        pooled = float(squares[usable].sum()) / total if total else 0.0
        own = np.where(usable, squares / np.where(usable, bound, 1), 0.0)  # degrees of freedom times its share
        lent = np.minimum(BORROWED, freedom[usable].sum() - freedom * usable)
        spread = (own + lent * pooled) / (freedom + lent)
        t = stdtrit(np.maximum(freedom + lent, 1), (1 + confidence) / 2)
        if below is None:
            worth = n * np.where(bound > 0, mean * (1 - mean) / bound, 1) / spread
            middle_, half = _score(mean, worth, t)
            ends = np.clip([middle_ - half, middle_ + half], 0, 1)
        else:
            per = np.where(mean > 0, bound / mean, means[1]) * spread / n / np.square(means[1])
            k = t * t * per
            half = np.sqrt(mean * k + k * k / 4)
            ends = np.stack([np.maximum(mean + k / 2 - half, 0), mean + k / 2 + half])
    known: Floats = np.where((n > 1) & np.isfinite(mean), ends, np.nan)
    return known


def mean_over_seeds(values: Iterable[float | None], confidence: float = 0.95) -> Estimate:
    """The mean of a few values with Student's interval, mean ± t(n − 1)·sd / √n; no interval below two of them.

    None, NaN and infinities are left out; `n` counts the others.
    """
    found = _finite(values)
    n = len(found)
    if not n:
        return Estimate(NAN)
    mean = statistics.mean(found)
    return _within(mean, sample_sd(found) / math.sqrt(n), n - 1, n, confidence)


def difference_over_seeds(
    a: Sequence[float | None], b: Sequence[float | None], paired: bool = False, confidence: float = 0.95
) -> Estimate:
    """mean(a) − mean(b) over seeds. `paired`: the two have the seeds in common, in one order.

    Unpaired, Welch's interval; no interval where a side has fewer than two seeds. Paired, Student's interval of the
    differences, where a pair that is not whole is left out. `n` counts the values, or the pairs. Where nothing varies
    the interval is the difference itself. Raises ValueError for pairs of different lengths.
    """
    if paired:
        whole = _whole_pairs(a, b)
        n = len(whole)
        if not n:
            return Estimate(NAN)
        gap = statistics.mean(x for x, _ in whole) - statistics.mean(y for _, y in whole)
        return _within(gap, sample_sd(x - y for x, y in whole) / math.sqrt(n), n - 1, n, confidence)
    sides = _finite(a), _finite(b)
    sizes = [len(side) for side in sides]
    if not all(sizes):
        return Estimate(NAN, n=sum(sizes))
    gap = statistics.mean(sides[0]) - statistics.mean(sides[1])
    if min(sizes) < 2:
        return Estimate(gap, n=sum(sizes))
    errors = [statistics.variance(side) / len(side) for side in sides]
    error = sum(errors)
    spread = sum(one**2 / (size - 1) for one, size in zip(errors, sizes, strict=True))
    freedom = error**2 / spread if spread else min(sizes) - 1  # Welch and Satterthwaite
    return _within(gap, math.sqrt(error), freedom, sum(sizes), confidence)


def _whole_pairs(a: Sequence[float | None], b: Sequence[float | None]) -> list[tuple[float, float]]:
    """The pairs of which both are finite. Raises ValueError for different lengths."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values are no pairs")
    pairs = zip(a, b, strict=True)
    return [(x, y) for x, y in pairs if x is not None and y is not None and math.isfinite(x - y)]


def _within(value: float, error: float, freedom: float, n: int, confidence: float) -> Estimate:
    """`value` ± t · `error`."""
    if math.isnan(error):
        return Estimate(value, n=n)
    half = _t(freedom, confidence) * error
    return Estimate(value, value - half, value + half, n)


def _finite(values: Iterable[float | None]) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def false_discovery(p_values: ArrayLike, rate: float) -> NDArray[np.bool_]:
    """(m,) p-values -> (m,) bool: the ones called significant by Benjamini and Hochberg, so that of these a share of
    at most `rate` is expected to be chance. NaN is what was not tested: it is not called, and does not count."""
    import numpy as np
    from scipy.stats import false_discovery_control

    p = np.asarray(p_values, dtype=np.float64)
    found = np.zeros(p.shape, dtype=bool)
    tested = ~np.isnan(p)
    if tested.any():
        found[tested] = false_discovery_control(p[tested]) <= rate
    return found


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """(m,) p-values -> (m,) adjusted by Holm: those at most α are false with a probability of at most α, all together.

    The k-th smallest times m − k + 1, never below a smaller one's, at most 1. NaN was not tested, and does not count.
    """
    import numpy as np

    p = np.asarray(p_values, dtype=np.float64)
    found = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    found[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return found


def paired_p(a: Sequence[float | None], b: Sequence[float | None]) -> float:
    """Student's two-sided p-value of mean(a) = mean(b) over pairs; NaN below two whole pairs, and where none varies."""
    from scipy.stats import ttest_1samp

    gaps = [x - y for x, y in _whole_pairs(a, b)]
    return float(ttest_1samp(gaps, 0).pvalue) if len(gaps) > 1 and len(set(gaps)) > 1 else NAN


class Bootstrap:
    """Resamples of units, drawn once: whatever one object estimates is of the same units, so that gaps are paired.

    A unit is what was sampled: an image, a class, an overlay. Intervals are the middle 95 % of the resamples; there is
    none without resamples, nor where a unit stands alone and cannot vary. For sums of values per unit, which is means,
    shares and ratios; of any other statistic see `resample`.
    """

    def __init__(self, counts: ArrayLike, n: int, *, varies: bool = True) -> None:
        """`counts` (resamples, units): how often each is drawn. `n` of them were sampled."""
        import numpy as np

        self.counts: Floats = np.asarray(counts, dtype=np.float64)
        self.n = n
        self._known = varies and n > 1 and len(self.counts) > 0

    @classmethod
    def of_units(
        cls, n: int, resamples: int, rng: np.random.Generator, strata: Sequence[int] | None = None
    ) -> Bootstrap:
        """Draw n units; with `strata` (n,) as many of each stratum as there are, the lowest stratum first."""
        import numpy as np

        groups = np.zeros(n, np.int64) if strata is None else np.asarray(strata)
        counts, varies = np.zeros((resamples, n)), True
        for stratum in np.unique(groups):
            members = np.flatnonzero(groups == stratum)
            varies &= len(members) > 1
            counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
        return cls(counts, n, varies=varies)

    def mean(self, values: ArrayLike) -> Estimate:
        """The mean of one value per unit."""
        import numpy as np

        wide = np.asarray(values, dtype=np.float64)
        return self.estimate(float(wide.mean()), self.counts @ wide / len(wide))

    def ratios(self, above: ArrayLike, below: ArrayLike) -> Floats:
        """(resamples,): Σ above / Σ below of one value each per unit; NaN where Σ below is 0."""
        import numpy as np

        over, under = (self.counts @ np.asarray(side, dtype=np.float64) for side in (above, below))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(under == 0, np.nan, over / under)

    def estimate(self, value: float, resampled: Floats) -> Estimate:
        """A value with the interval of what the resamples made of it (resamples,); NaN among these is left out."""
        low, high = middle(resampled) if self._known else (NAN, NAN)
        return Estimate(value, float(low), float(high), self.n)


def resample(
    statistic: Callable[..., Any], sizes: Sequence[int], resamples: int, rng: np.random.Generator
) -> NDArray[Any]:
    """(resamples, …): what any statistic makes of resamples of one or more samples of `sizes` units.

    `statistic` takes one array of drawn row numbers per sample, and gives a number or an array.
    """
    import numpy as np

    return np.array([statistic(*(rng.integers(size, size=size) for size in sizes)) for _ in range(resamples)])


def middle(resampled: NDArray[Any]) -> NDArray[Any]:
    """(2, …): the ends of the middle 95 % over the first axis, NaN left out; NaN where nothing is left."""
    import numpy as np

    if np.isnan(resampled).all():
        return np.full((2, *resampled.shape[1:]), np.nan)
    ends: NDArray[Any] = np.nanpercentile(resampled, ENDS, axis=0)
    return ends

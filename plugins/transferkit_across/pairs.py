"""Source classes in two models: matched by name, with Pearson's r and its interval (figures 5 and 6 of paper 001)."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.statistics import Estimate
from transferkit_across.entries import Entry

LEAST = 4  # classes; the interval of r needs n - 3 > 0
Floats = NDArray[np.float64]


class Correlation(NamedTuple):
    """Pearson's r over n classes with its 95 % interval; NaN with the reason where there is none."""

    r: float
    low: float
    high: float
    n: int
    why: str | None = None

    @property
    def p(self) -> float:
        """How often unrelated values would give so large an r, of either sign, by Fisher's z; NaN without r."""
        if math.isnan(self.r):
            return math.nan
        return math.erfc(math.atanh(min(abs(self.r), 1 - 1e-12)) * math.sqrt((self.n - 3) / 2))


@dataclass(frozen=True)
class Quantity:
    """A column of a table with one row per source class."""

    plugin: str
    column: str
    text: str
    targets: tuple[str, ...] | None = None
    """For bias: the target classes that both models must have."""


@dataclass(frozen=True)
class Pair:
    """One quantity in two models, class by class."""

    quantity: Quantity
    one: Entry
    other: Entry
    names: list[str]
    x: Floats
    y: Floats
    images: list[int]
    """Per class, of the model that has fewer."""
    correlation: Correlation
    reliability: tuple[float, float] = (math.nan, math.nan)
    """Of each side: the share of the spread over classes that is not the noise of few images; NaN where not known."""

    @property
    def corrected(self) -> Estimate:
        """r over the root of both reliabilities (Spearman): what it would be with many images; within −1..1.

        The interval takes the reliabilities as known. NaN where one is not known, or noise is all there is.
        """
        both = math.prod(self.reliability) if min(self.reliability) > 0 else math.nan
        value, low, high = np.clip(np.array(self.correlation[:3], dtype=np.float64) / math.sqrt(both), -1, 1).tolist()
        return Estimate(value, low, high, self.correlation.n)

    @property
    def seeds(self) -> bool:
        """Whether the two differ by their seed only: then r says how far anything could agree."""
        return self.one.facts.recipe == self.other.facts.recipe


def pearson(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Pearson's r of paired values (n,) with SciPy's 95 % interval (Fisher's z). Pairs with a NaN are left out.

    NaN and a sentence with fewer than four pairs, or where one side has the same value everywhere.
    Raises ValueError for different lengths.
    """
    from scipy.stats import NearConstantInputWarning, pearsonr

    one, other = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"values come in pairs: {one.shape} and {other.shape}")
    both = np.isfinite(one) & np.isfinite(other)
    one, other = one[both], other[both]
    nothing = Correlation(math.nan, math.nan, math.nan, len(one))
    if len(one) < LEAST:
        return nothing._replace(why=f"they have {len(one)} classes in common, and r needs {LEAST}")
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return nothing._replace(why=f"one of them has the same value in all {len(one)} classes")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NearConstantInputWarning)
        try:
            found = pearsonr(one, other)
        except NearConstantInputWarning:
            return nothing._replace(why=f"one of them has nearly the same value in all {len(one)} classes")
    low, high = found.confidence_interval(confidence_level=0.95)
    return Correlation(float(found.statistic), float(low), float(high), len(one))


def reliability(shares: ArrayLike, images: ArrayLike) -> float:
    """1 − (variance that few images give shares) / (variance of the shares over classes). (n,) shares of (n,) images.

    The first is the mean of s² / n_c, with s² the variance of single outcomes within classes, Σ n p(1 − p) / Σ (n − 1).
    NaN where the values are no shares of that many images, below two classes, and where no class has two images; 0 or
    less where nothing but noise is seen. 1 / reliability is what noise makes of a squared correlation.
    """
    p, n = np.asarray(shares, dtype=np.float64), np.asarray(images, dtype=np.float64)
    hits = p * n
    if len(p) < 2 or not (n > 0).all() or np.ptp(p) == 0 or not np.allclose(hits, np.round(hits), atol=1e-6):
        return math.nan
    free = (n - 1).sum()
    if (p < 0).any() or (p > 1).any() or not free:
        return math.nan
    within = float((hits * (1 - p)).sum() / free)
    return 1 - within * float((1 / n).mean()) / float(p.var(ddof=1))


def class_table(report: Mapping[str, Any], column: str | None = None) -> Mapping[str, Any] | None:
    """The table of a report with one row per source class (and that column); the one called as the plugin first."""
    tables = report.get("tables") or {}
    names = sorted(tables, key=lambda name: name != report.get("plugin"))
    wanted = {"class", "name", *([] if column is None else [column])}
    return next((tables[name] for name in names if wanted <= set(tables[name]["columns"])), None)


def target_columns(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of the bias table that are target classes: those between `images` and `index`."""
    table = class_table(report, "index")
    if table is None or "images" not in table["columns"]:
        return ()
    columns = list(table["columns"])
    return tuple(columns[columns.index("images") + 1 : columns.index("index")])


def values(report: Mapping[str, Any], column: str) -> dict[str, tuple[float, int]]:
    """{class name: (value, images)} of a column. Classes without a value, and names that occur twice, are left out."""
    table = class_table(report, column)
    if table is None:
        return {}
    columns = list(table["columns"])
    name, value = columns.index("name"), columns.index(column)
    images = columns.index("images") if "images" in columns else None
    times = Counter(row[name] for row in table["rows"])
    return {
        str(row[name]): (float(row[value]), 0 if images is None else int(row[images] or 0))
        for row in table["rows"]
        if times[row[name]] == 1 and isinstance(row[value], int | float)
    }


def quantities(entries: Sequence[Entry]) -> list[Quantity]:
    """What is compared unless something else is asked for: recall, and bias towards each target class.

    Of two target classes the first is enough: the votes for the second are the rest.
    """
    found = []
    if sum("retention" in entry.reports for entry in entries) > 1:
        found.append(Quantity("retention", "recall_head_swap", "recall under the source's head"))
    sets = Counter(target_columns(entry.reports["bias"]) for entry in entries if "bias" in entry.reports)
    for targets, times in sets.items():
        if times > 1 and len(targets) > 1:
            shown = targets[:1] if len(targets) == 2 else targets
            found += [Quantity("bias", name, f"bias towards {name}", targets) for name in shown]
    return found


def pairs(entries: Sequence[Entry], quantity: Quantity) -> Iterator[Pair]:
    """Every two entries that have the quantity, in the order given."""
    known = [entry for entry in entries if _has(entry, quantity)]
    for one, other in combinations(known, 2):
        mine, theirs = (values(entry.reports[quantity.plugin], quantity.column) for entry in (one, other))
        names = [name for name in mine if name in theirs]
        x, y = (np.array([side[name][0] for name in names], dtype=np.float64) for side in (mine, theirs))
        images = [min(mine[name][1], theirs[name][1]) for name in names]
        both = [reliability(*zip(*(side[name] for name in names), strict=True)) if names else math.nan
                for side in (mine, theirs)]  # fmt: skip
        yield Pair(quantity, one, other, names, x, y, images, pearson(x, y), (both[0], both[1]))


def _has(entry: Entry, quantity: Quantity) -> bool:
    report = entry.reports.get(quantity.plugin)
    if report is None or class_table(report, quantity.column) is None:
        return False
    return quantity.targets is None or target_columns(report) == quantity.targets

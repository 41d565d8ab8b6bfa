"""Can the class be told from corners, the border, the mean colour, or the file's size alone?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RIDGE = 0.3
GRID = 8
CORNER, RIM = 4, 2  # shares of the side: corners of a quarter; the border is a sixteenth on each side

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictable:
    """What a small classifier tells from one kind of feature, each image asked by one that did not learn from it."""

    right: NDArray[np.bool_]
    """(n,) whether the class is told right."""
    auc: Floats
    """(K,) how well each class is told from the rest: 0.5 by chance, 1 always. NaN for a class without images."""
    p: Floats
    """(K,) how probable so large a value is by chance anywhere among all features and classes."""


def parts(small: NDArray[np.uint8], sizes: ArrayLike) -> dict[str, Floats]:
    """(n, s, s, 3) whole small pictures and (n, m) facts about their files -> {name: (n, d)} without what is constant.

    corners: the mean colours of quarters of the four corners' squares, each a quarter of the side; border: mean colours
    along the rim; colour: mean and spread of red, green and blue; file: the facts. Kinds that nothing varies in are
    left out.
    """
    x = small.astype(np.float64) / 255
    n, side = len(x), x.shape[1]
    part, rim, step = side // CORNER, max(1, side * RIM // 32), side // GRID
    corners = [x[:, top, left] for top in (slice(0, part), slice(-part, None))
               for left in (slice(0, part), slice(-part, None))]  # fmt: skip
    edges = [x[:, :rim].mean(axis=1), x[:, -rim:].mean(axis=1), x[:, :, :rim].mean(axis=2), x[:, :, -rim:].mean(axis=2)]
    made = {
        "corners": np.concatenate([_cells(corner, 4).reshape(n, -1) for corner in corners], axis=1),
        "border": np.concatenate([e.reshape(n, GRID, step, 3).mean(axis=2).reshape(n, -1) for e in edges], axis=1),
        "colour": np.concatenate([x.mean(axis=(1, 2)), x.std(axis=(1, 2))], axis=1),
        "file": np.asarray(sizes, dtype=np.float64).reshape(n, -1),
    }
    varying = {name: values[:, values.std(axis=0) > 1e-6] for name, values in made.items()}
    return {name: values for name, values in varying.items() if values.shape[1]}


def _cells(pictures: Floats, count: int) -> Floats:
    """(n, s, s, 3) -> (n, count, count, 3) mean colours."""
    n, side = pictures.shape[:2]
    count = min(count, side)
    step = side // count
    cut = pictures[:, : step * count, : step * count]
    return np.asarray(cut.reshape(n, count, step, count, step, 3).mean(axis=(2, 4)))


def predictable(
    features: Mapping[str, Floats],
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    folds: int,
    permutations: int,
    rng: np.random.Generator,
) -> dict[str, Predictable]:
    """{name: (n, d)} features, (n,) classes 0..K-1 and (n,) groups -> {name: what they tell}.

    Kernel ridge regression (Gaussian kernel of the standardised features, its width the median distance) on one-hot
    classes, from the folds in which an image's group is not. Under permuted labels everything is done again, and p is
    the share of permutations whose largest standardised AUC over all features and classes is at least as large
    (Westfall and Young's max-T): it stands for all comparisons at once. (Testing classifiers by permutation: Ojala and
    Garriga, JMLR 11, 2010.)
    """
    y, members = np.asarray(labels), np.asarray(groups)
    n, classes = len(y), int(y.max()) + 1 if len(y) else 0
    numbers = np.unique(members, return_inverse=True)[1]
    fold = rng.permutation(numbers.max() + 1)[numbers] % folds
    smoothers = {name: _smoother(values, fold) for name, values in features.items()}
    counts = np.bincount(y, minlength=classes).astype(np.float64)
    with np.errstate(divide="ignore"):
        spread = np.sqrt((n + 1) / (12 * counts * (n - counts)))
    orders = [np.arange(n), *(rng.permutation(n) for _ in range(permutations))]
    found, largest = {name: np.empty((len(orders), classes)) for name in features}, np.full(len(orders), -np.inf)
    right = {}
    for number, order in enumerate(orders):
        mine = y[order]
        hot = (mine[:, None] == np.arange(classes)) - counts / n
        for name, smooth in smoothers.items():
            said = smooth @ hot
            if not number:
                right[name] = (said / np.maximum(counts, 1)).argmax(axis=1) == mine
            found[name][number] = aucs(said, mine)
            standard = (found[name][number] - 0.5) / spread
            largest[number] = max(largest[number], float(np.nanmax(standard)))
    return {
        name: Predictable(
            right[name],
            values[0],
            np.array([(1 + (largest[1:] >= one - 1e-12).sum()) / len(orders) if np.isfinite(one) else np.nan
                      for one in (values[0] - 0.5) / spread]),
        )
        for name, values in found.items()
    }  # fmt: skip


def where(
    small: NDArray[np.uint8], flags: ArrayLike, groups: ArrayLike, *, folds: int, rng: np.random.Generator
) -> Floats:
    """(n, s, s, 3) small pictures, (n,) flags -> (8, 8) AUC with which each place alone tells the flagged images."""
    mine, members = np.asarray(flags, dtype=np.int64), np.asarray(groups)
    numbers = np.unique(members, return_inverse=True)[1]
    fold = rng.permutation(numbers.max() + 1)[numbers] % folds
    hot = (mine[:, None] == np.arange(2)) - np.bincount(mine, minlength=2) / len(mine)
    step, found = small.shape[1] // GRID, np.empty((GRID, GRID))
    for row in range(GRID):
        for column in range(GRID):
            place = small[:, row * step : (row + 1) * step, column * step : (column + 1) * step]
            values = place.reshape(len(small), -1).astype(np.float64) / 255
            found[row, column] = aucs(_smoother(values, fold) @ hot, mine)[1]
    return found


def _smoother(values: Floats, fold: NDArray[np.int64]) -> Floats:
    """(n, n) what the answers are as a linear function of the labels: kernel ridge regression out of fold."""
    from scipy.linalg import cho_factor, cho_solve

    x = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-8)
    squares: Floats = np.square(x).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0)
    width = np.median(distances[np.triu_indices(len(x), 1)]) if len(x) > 1 else 1.0
    kernel = np.exp(-distances / max(float(width), 1e-8))
    found: Floats = np.zeros(kernel.shape)
    for one in np.unique(fold):
        away, rest = np.flatnonzero(fold == one), np.flatnonzero(fold != one)
        factor = cho_factor(kernel[np.ix_(rest, rest)] + RIDGE * np.eye(len(rest)))
        found[np.ix_(away, rest)] = cho_solve(factor, kernel[np.ix_(rest, away)]).T
    return found


def aucs(scores: Floats, labels: NDArray[np.int64]) -> Floats:
    """(n, K) scores -> (K,) the probability that an image of a class has more of its score than one of another."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    n, classes = scores.shape
    counts = np.bincount(labels, minlength=classes)
    sums = np.array([ranks[labels == k, k].sum() for k in range(classes)])
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (sums - counts * (counts + 1) / 2) / (counts * (n - counts))
    return found

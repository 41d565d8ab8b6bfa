"""What chance alone would do to votes: exact tests, overdispersion, and indices that take a model's preference out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, false_discovery_control

from transferkit.statistics import Estimate, middle
from transferkit_bias.votes import index_groups

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

TIE = 1 + 1e-7  # outcomes as likely as the one seen count as at least as extreme, as in scipy.stats.binomtest
SIMULATED = 2000


def global_share(votes: Counts) -> Shares:
    """(K_s, K_t) votes -> (K_t,): the share of each target class among all votes; NaN without votes."""
    with np.errstate(invalid="ignore"):
        shares: Shares = votes.sum(axis=0) / votes.sum()
    return shares


def p_values(votes: Counts, shares: Shares) -> Shares:
    """(K_s, K_t) votes against fixed shares (K_t,) -> (K_s,): two-sided and exact; NaN for a class without images.

    Each target class has a binomial test, and the smallest p-value is multiplied by how many classes are tested
    (Bonferroni). With two classes both tests are the same one, so there is nothing to multiply.
    """
    images = votes.sum(axis=1)
    tested = np.flatnonzero(shares > 0)
    if len(tested) < 2:
        return np.where(images > 0, 1.0, np.nan)
    factor = 1 if len(tested) == 2 else len(tested)
    columns = tested[:1] if len(tested) == 2 else tested
    smallest = np.stack([binomial_p(votes[:, j], images, float(shares[j])) for j in columns]).min(axis=0)
    return np.where(images > 0, np.minimum(1.0, factor * smallest), np.nan)


def binomial_p(successes: Counts, trials: Counts, share: float) -> Shares:
    """(m,) two-sided exact p-values: the chance of all outcomes that are no more likely than the one seen."""
    found = np.full(len(trials), np.nan)
    for n in np.unique(trials[trials > 0]).tolist():
        chances = binom.pmf(np.arange(n + 1), n, share)
        ordered = np.sort(chances)
        rows = trials == n
        as_unlikely = np.searchsorted(ordered, TIE * chances[successes[rows]], side="right")
        found[rows] = np.minimum(1.0, np.cumsum(ordered)[as_unlikely - 1])
    return found


def adjusted(p: Shares, tested: NDArray[np.bool_]) -> Shares:
    """Benjamini-Hochberg over the classes (K_s,) to be tested; the others get NaN.

    Which are tested must not depend on their votes. Leaving out classes of so few images that no vote of theirs
    could be significant keeps them from hiding the others.
    """
    found = np.full_like(p, np.nan)
    if tested.any():
        found[tested] = false_discovery_control(p[tested])
    return found


def corrected_index(votes: Counts, shares: Shares) -> Shares:
    """(K_s, K_t) votes -> (K_s,) in 0..1: how far a class's vote lies from the share of all votes.

    Total variation distance, over the largest one possible: every image voting for the target class that is chosen
    least (among those ever chosen). 0 when the class votes like all images; NaN without images.
    """
    images = votes.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = 0.5 * np.abs(votes / images[:, None] - shares).sum(axis=1)
    largest = 1 - shares[shares > 0].min() if (shares > 0).any() else 0.0
    return distance / largest if largest > 0 else np.where(images > 0, 0.0, np.nan)


def overdispersion(votes: Counts) -> float:
    """How much more votes vary between source classes than images of one urn would: 1 means no memory of classes.

    Pearson's statistic Σ (c_ij − n_i q_j)² / (n_i q_j) over its degrees of freedom, q the share of all votes; for two
    target classes the variance of the counts over binomial. It grows with the images per class, so that only numbers of
    the same images can be compared. Classes with one image carry no information on
    it and are left out. NaN with fewer than two classes, or when only one target class is ever chosen.
    """
    rows = votes[votes.sum(axis=1) > 1]
    shares = rows.sum(axis=0) / max(rows.sum(), 1)
    rows, shares = rows[:, shares > 0], shares[shares > 0]
    if min(rows.shape) < 2:
        return float("nan")
    freedom = (len(rows) - 1) * (len(shares) - 1)
    expected = rows.sum(axis=1, keepdims=True) * shares
    return float(((rows - expected) ** 2 / expected).sum() / freedom)


def overdispersion_by_chance(votes: Counts, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """The central 95 % of `overdispersion` when the votes are shuffled over the images of all classes."""
    rows = votes[votes.sum(axis=1) > 1]
    classes, targets = rows.shape
    if np.isnan(overdispersion(rows)):
        return float("nan"), float("nan")
    images = np.repeat(np.arange(classes), rows.sum(axis=1))
    cast = np.repeat(np.tile(np.arange(targets), classes), rows.ravel())
    found = []
    for _ in range(draws):
        cells = images * targets + rng.permutation(cast)
        found.append(overdispersion(np.bincount(cells, minlength=rows.size).reshape(rows.shape)))
    low, high = middle(np.array(found)).tolist()
    return low, high


def expected_groups(images: Counts, shares: Shares, rng: np.random.Generator) -> list[Estimate]:
    """What shares of classes would be neutral, slightly and highly biased if every image voted by `shares`.

    `images` (K_s,) per class, `shares` (K_t,). Each with the middle 95 % of what chance gives, a range and not an
    interval: how many classes are in a group is a sum of binomial counts, one for each number of images. Exact for two
    target classes, by 2000 draws per number of images for more. The fewer images a class has, the more one-sided it
    looks. NaN without images and for a single target class.
    """
    sizes, times = np.unique(images[images > 0], return_counts=True)
    if len(shares) < 2 or not len(sizes):
        return [Estimate(np.nan)] * 3
    counts = [np.ones(1)] * 3  # (classes + 1,) how likely each number of classes in the group is
    for n, classes in zip(sizes.tolist(), times.tolist(), strict=True):
        if len(shares) == 2:
            votes = np.stack([np.arange(n + 1), n - np.arange(n + 1)], axis=1)
            chances = binom.pmf(votes[:, 0], n, shares[0])
        else:
            votes = rng.multinomial(n, shares, size=SIMULATED)
            chances = np.full(SIMULATED, 1 / SIMULATED)
        groups = index_groups(torch.from_numpy(votes)).numpy()
        each = np.clip(np.bincount(groups, weights=chances, minlength=3), 0, 1)
        counts = [
            np.convolve(have, binom.pmf(np.arange(classes + 1), classes, p))
            for have, p in zip(counts, each, strict=True)
        ]
    return [_range(one) for one in counts]


def _range(chances: Shares) -> Estimate:
    """How likely 0, 1, … of n classes are -> the expected share of the n, and the middle 95 % of it."""
    n = len(chances) - 1
    low, high = np.searchsorted(np.cumsum(chances / chances.sum()), [0.025, 0.975 - 1e-12])
    return Estimate(float(np.arange(n + 1) @ chances / n), float(low / n), float(min(high, n) / n), n)


def expected_histogram(images: Counts, share: float) -> Shares:
    """(5,) how many source classes would be in each bin of `bias_histogram` if every image voted by `share`."""
    found = np.zeros(5)
    sizes, times = np.unique(images[images > 0], return_counts=True)
    for n, classes in zip(sizes.tolist(), times.tolist(), strict=True):
        votes = np.arange(n + 1)
        bins = np.minimum(5 * votes // n, 4)
        found += classes * np.bincount(bins, weights=binom.pmf(votes, n, share), minlength=5)
    return found

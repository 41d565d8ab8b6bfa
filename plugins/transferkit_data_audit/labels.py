"""Likely label errors: what a probe that never saw an image says of it, against the label that it has."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.errors import InputError

STRENGTHS = (1.0, 0.1, 0.01)
"""Of the probe, as scikit-learn's C: the one is taken that predicts best out of fold."""
STEPS = 300

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class LabelErrors:
    """What is likely wrong of n labels."""

    errors: NDArray[np.bool_]
    """(n,) confidently of another class: off the diagonal of the confident joint."""
    doubts: NDArray[np.bool_]
    """(n,) of another class, but not confidently; none of `errors`."""
    other: Ids
    """(n,) the class that the probe gives."""
    score: Floats
    """(n,) 1 − (p of the label − the largest p of another class + 1) / 2: 1 is surely wrong, 0 surely right."""
    thresholds: Floats
    """(K,) the mean probability of a class among the images that have its label; NaN without any."""


def out_of_fold(features: ArrayLike, labels: ArrayLike, groups: ArrayLike, folds: int, seed: int) -> Floats:
    """(n, d) features, (n,) classes 0..K-1, (n,) groups -> (n, K) probabilities from probes that did not see the image.

    A multinomial logistic regression on standardised features, trained on the other folds. Images of one group (copies
    of each other) are in one fold: a copy would vouch for a wrong label. Raises InputError where scikit-learn is
    missing, or a class has fewer groups than there are folds.
    """
    x, y, members = np.asarray(features, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    for one in np.unique(y):
        if (count := len(np.unique(members[y == one]))) < folds:
            raise InputError(f"a class has {count} different images, and {folds} folds need at least as many")
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise InputError("it needs scikit-learn; pip install 'transferkit[data]'") from None

    parts = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(x, y, members))
    best: tuple[float, Any] = (np.inf, None)
    for strength in STRENGTHS:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=STEPS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stopped early: the next strength converges sooner, and the loss decides
            found = cross_val_predict(probe, x, y, cv=parts, method="predict_proba")
        loss = float(-np.log(np.clip(found[np.arange(len(y)), y], 1e-12, None)).mean())
        best = min(best, (loss, found), key=lambda pair: pair[0])
    return np.asarray(best[1], dtype=np.float64)


def confident_errors(labels: ArrayLike, probabilities: ArrayLike) -> LabelErrors:
    """(n,) labels and (n, K) out-of-fold probabilities -> confident learning (Northcutt, Jiang, Chuang, JAIR 70, 2021).

    t_j is the mean of p_j over the images labelled j. An image labelled i counts for the class j of the largest p_j
    among those with p_j ≥ t_j; off the diagonal of these counts, j ≠ i, its label is likely wrong, if j is also the
    class of the largest probability of all. Ranked by the normalised margin. What is under every t_j is counted
    nowhere: a label that the probe would not give is then a doubt. Raises ValueError for shapes that do not fit.
    """
    y, p = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or y.shape != p.shape[:1] or (len(y) and not 0 <= y.min() <= y.max() < p.shape[1]):
        raise ValueError(f"labels of the shape {y.shape} do not go with probabilities of the shape {p.shape}")
    rows = np.arange(len(y))
    thresholds = np.array([p[y == j, j].mean() if (y == j).any() else np.nan for j in range(p.shape[1])])
    reached = p >= np.where(np.isnan(thresholds), np.inf, thresholds) - 1e-12
    counted = np.where(reached, p, -1.0).argmax(axis=1)
    other = p.argmax(axis=1)
    differs = other != y
    errors = reached.any(axis=1) & (counted != y) & differs
    rest = p.copy()
    rest[rows, y] = -np.inf
    margin = p[rows, y] - rest.max(axis=1) if p.shape[1] > 1 else np.ones(len(y))
    return LabelErrors(errors, differs & ~errors, other, 1 - (margin + 1) / 2, thresholds)

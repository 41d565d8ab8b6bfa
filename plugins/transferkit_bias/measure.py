"""The votes of one model over the source images, with everything that follows from them class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from transferkit_lingering.sets import class_means

from transferkit.errors import InputError
from transferkit_bias import significance
from transferkit_bias.votes import bias_index, index_groups, vote_counts

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession, Predictions
    from transferkit_bias.analyzer import Bias

NEUTRAL, SLIGHT, HIGH = 0, 1, 2


@dataclass(frozen=True)
class Votes:
    """Arrays over the K_s source classes; NaN (or −1 in `group`) for a class without images."""

    targets: list[str]
    counts: NDArray[np.int64]
    """(K_s, K_t) images of each source class predicted as each target class."""
    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    """Mean probability of the predicted class."""
    index: NDArray[np.float64]
    group: NDArray[np.int64]
    """NEUTRAL, SLIGHT or HIGH."""
    corrected: NDArray[np.float64]
    p_value: NDArray[np.float64]
    """Against the global share."""
    tested: NDArray[np.bool_]
    """Enough images to be looked at among others; those with fewer have no adjusted p-value."""
    p_adjusted: NDArray[np.float64]
    p_uniform: NDArray[np.float64]
    significant: NDArray[np.bool_]
    share: NDArray[np.float64]
    """(K_t,) of all votes."""
    expected: NDArray[np.float64]
    """(3,) shares of neutral, slight and high classes if every image voted by the global share."""
    overdispersion: float
    by_chance: tuple[float, float]

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K_s, K_t) Eq. 1."""
        with np.errstate(invalid="ignore"):
            return self.counts / self.images[:, None]

    @property
    def favoured(self) -> NDArray[np.int64]:
        """(K_s,) the target class with most votes; the lower one of equal ones."""
        best: NDArray[np.int64] = self.counts.argmax(axis=1)
        return best

    def part(self, group: int) -> float:
        """The share of source classes with images that are in the group; NaN without images or a single target."""
        known = self.group >= 0
        return float((self.group[known] == group).mean()) if known.any() else float("nan")


def measure(
    session: AnalysisSession, options: Bias, role: str, min_images: int, targets: Sequence[str] | None = None
) -> Votes:
    """The votes of the model in that role, in the order of `targets` (its own by default).

    Classes with at least `min_images` images are tested.

    Raises InputError for a model without a classifier, and for one of other classes than `targets`.
    """
    predictions = session.predictions(role, "source")
    own = predictions.head.classes
    names = list(own if targets is None else targets)
    if not own or sorted(own) != sorted(names):
        raise InputError(
            f"the {role} model tells {', '.join(own[:5]) or 'no classes'} apart, not {', '.join(names[:5]) or 'any'}"
        )
    order = torch.tensor([names.index(name) for name in own])
    cast = order[predictions.predicted()]
    classes = len(predictions.classes)
    counts = vote_counts(cast, predictions.labels, classes, len(names)).numpy()
    confidence = class_means(confidences(predictions), predictions.labels, classes).numpy()
    return judge(counts, names, confidence, options, min_images, lambda what: session.rng("bias", role, what))


def confidences(predictions: Predictions) -> torch.Tensor:
    """(n,) float64: the probability of the predicted class."""
    return torch.cat([logits.double().softmax(dim=1).amax(dim=1) for _, logits in predictions.chunks()])


def judge(
    counts: NDArray[np.int64],
    targets: list[str],
    confidence: NDArray[np.float64],
    options: Bias,
    min_images: int,
    rng: significance.Generators,
) -> Votes:
    """Everything that follows from the counts (K_s, K_t)."""
    images = counts.sum(axis=1)
    share = significance.global_share(counts)
    p = significance.p_values(counts, share)
    tested = images >= max(min_images, 1)
    adjusted = significance.adjusted(p, tested)
    with np.errstate(invalid="ignore"):
        shares = torch.from_numpy(counts / images[:, None])
    return Votes(
        targets=targets,
        counts=counts,
        images=images,
        confidence=confidence,
        index=bias_index(shares).numpy(),
        group=index_groups(torch.from_numpy(counts)).numpy(),
        corrected=significance.corrected_index(counts, share),
        p_value=p,
        tested=tested,
        p_adjusted=adjusted,
        p_uniform=significance.p_values(counts, np.full(len(targets), 1 / len(targets))),
        significant=np.nan_to_num(adjusted, nan=1.0) <= options.fdr,
        share=share,
        expected=significance.expected_groups(images, share, rng("expected")),
        overdispersion=significance.overdispersion(counts),
        by_chance=significance.overdispersion_by_chance(counts, options.permutations, rng("shuffles")),
    )

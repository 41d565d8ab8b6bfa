"""What `retention` finds: right answers before and after fine-tuning, per class, overall and by prevalence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transferkit.analysis import AnalysisSession, Memories, memories
from transferkit.model import TransferModel
from transferkit.report import attempt
from transferkit.statistics import Estimate, difference, ratio, share
from transferkit_retention import batchnorm
from transferkit_retention.options import Options
from transferkit_retention.scores import recall_counts

SOURCE_ONLY, RARE, COMMON, SHOWN = "source-only", "rare", "common", "rare or common"


@dataclass(frozen=True)
class Findings:
    """Right answers of both models, per image and per source class."""

    names: list[str]
    total: Tensor
    """(K,) source images per class."""
    correct_source: Tensor | None
    """(K,) of them right by M^s; None without M^s."""
    correct_swap: Tensor
    """(K,) of them right by M^st."""
    overall: Comparison
    groups: dict[str, Comparison]
    """By prevalence; empty without M^s or target images."""
    gaps: list[str]

    @property
    def gap(self) -> Estimate:
        """What is left of classes that the target images show, less what is left of source-only ones."""
        unknown = Comparison(0, 0, *[Estimate(math.nan)] * 3)
        shown, hidden = (self.groups.get(name, unknown).ratio for name in (SHOWN, SOURCE_ONLY))
        return difference(shown, hidden)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: shares of right answers of M^s and M^st, and swap / source, which is at most 1:
    what M^st gets right beyond as many is new, not left. NaN where unknown.

    Intervals are over source classes: images of one class are right or wrong together.
    """

    classes: int
    """How many source classes the images are of."""
    images: int
    """How many both answered."""
    source: Estimate
    swap: Estimate
    ratio: Estimate


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Both models on the source images, from cached predictions."""
    gaps: list[str] = []
    known = attempt(gaps, "Retention by prevalence was not measured", lambda: memories(session))
    head = session.source_head()
    swap = session.predictions(_backbone(session, options), "source")
    after = swap.predicted(head)
    correct_swap, total = recall_counts(after, swap.labels, len(head.classes))
    right_swap = (after == swap.labels).numpy()
    right_source, correct_source = None, None
    if session.has("source"):
        before = session.predictions("source", "source").predicted(head)
        correct_source, _ = recall_counts(before, swap.labels, len(head.classes))
        right_source = (before == swap.labels).numpy()
    else:
        gaps.append("There is no source model, so its own recall, the ceiling of retention, is unknown.")
    labels = swap.labels.numpy()

    def compared(chosen: NDArray[np.bool_]) -> Comparison:
        return compare(None if right_source is None else right_source[chosen], right_swap[chosen], labels[chosen])

    prevalence = {} if known is None else prevalence_groups(known, options.common)
    groups = {name: compared(members[labels]) for name, members in prevalence.items()}
    overall = compared(np.ones(len(labels), dtype=bool))
    if overall.images and overall.source.value == 0:
        gaps.append("The source model gets no source image right, so there is nothing to be retained.")
    if without := int((total == 0).sum()):
        gaps.append(f"{without} of {len(total)} source classes have no source image: their recall is unknown.")
    return Findings(list(swap.classes), total, correct_source, correct_swap, overall, groups, gaps)


def _backbone(session: AnalysisSession, options: Options) -> str | TransferModel:
    """The role "target", or a copy of M^t with other batch-norm statistics."""
    model = session.model("target")
    if options.bn == "target" or not batchnorm.batch_norms(model):
        return "target"
    if options.bn == "source":
        return batchnorm.with_statistics(model, batchnorm.source_statistics(session))
    return batchnorm.with_statistics(model, batchnorm.recalibrated_statistics(session, options.bn_images))


def compare(source: NDArray[np.bool_] | None, swap: NDArray[np.bool_], labels: NDArray[np.int64]) -> Comparison:
    """Which images (n,) M^s and M^st get right, and their classes (n,) -> top-1 of both and the ratio.

    It has no ratio when M^s is missing or never right.
    """
    before, left = (Estimate(math.nan) if source is None else share(source, labels)), Estimate(math.nan)
    if source is not None and before.value > 0:
        left = ratio(swap, source, labels).part()
    return Comparison(len(np.unique(labels)), len(labels), before, share(swap, labels), left)


def prevalence_groups(found: Memories, common: float) -> dict[str, NDArray[np.bool_]]:
    """{group: (K,) bool}: at most `v_lo` target images, more, more than the share `common` of them, and the last two.

    The first three are a partition of the classes.
    """
    only = found.prevalence <= found.v_lo
    often = ~only & (found.prevalence > math.floor(round(common * found.n_target, 9)))
    return {SOURCE_ONLY: only, RARE: ~only & ~often, COMMON: often, SHOWN: ~only}


def chance(found: Findings) -> float:
    """The relative retention of answers at random, one in all K classes; NaN where M^s is missing or never right."""
    top1 = found.overall.source.value
    return 1 / len(found.names) / top1 if top1 > 0 else math.nan


def halves(found: Findings) -> tuple[Estimate, Estimate]:
    """The share of the classes with images of which M^s, and M^st, names at least half of them; over classes."""
    seen = found.total > 0
    models = (found.correct_source, found.correct_swap)
    before, after = (
        Estimate(math.nan) if right is None else share((2 * right[seen] >= found.total[seen]).numpy())
        for right in models
    )
    return before, after


def images_per_class(found: Findings) -> float:
    """The median over the classes that have images; NaN without any."""
    sizes = found.total[found.total > 0].numpy()
    return float(np.median(sizes)) if len(sizes) else math.nan

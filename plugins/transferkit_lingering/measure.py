"""What `lingering` finds: the memories of every source class, how sure they are, and which are the strongest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis import AnalysisSession, Memories, judge_memories, memory_evidence
from transferkit.statistics import Estimate, means_by_group, ratio
from transferkit_lingering.options import Options


@dataclass(frozen=True)
class Findings:
    """Memories of the K source classes, with intervals and in order."""

    memories: Memories
    relative: list[Estimate]
    """(K,) the mean of p_c(M^st) over the same of M^s, on the images of class c; at most 1: all of it is left."""
    left: Estimate
    """Σ mean p_c(M^st) / Σ mean p_c(M^s) over the source-only classes with enough images, which none of the two chose;
    with an interval over classes."""
    measured: NDArray[np.int64]
    """Source-only classes with enough images."""
    best: NDArray[np.int64]
    """Of these the ones by Eq. 3, the largest lower end of what is left relative to M^s first."""
    others: NDArray[np.int64]
    """Classes by Eq. 3 with too few images, most images first."""
    only_by_k: list[int]
    """How many classes are source-only at k = 1, 2, …"""
    gaps: list[str]

    @property
    def with_images(self) -> NDArray[np.int64]:
        """Source-only classes that have source images."""
        known = self.memories
        return known.source_only[known.images[known.source_only] > 0]

    def count(self, state: str) -> int:
        """How many classes are in that state."""
        return self.memories.state.count(state)


def measure(session: AnalysisSession, options: Options) -> Findings:
    """Thresholds and intervals, from cached predictions. Raises InputError where a model or images are missing."""
    depth = max(options.k, options.top_max)
    evidence = memory_evidence(session, depth)
    known = judge_memories(evidence, options)
    after, before = evidence.probability.numpy(), evidence.source_probability.numpy()
    low, high = means_by_group(after, evidence.labels.numpy(), len(evidence.names), before)
    relative = [
        Estimate(*one).part()
        for one in zip(
            known.relative_retention.tolist(), low.tolist(), high.tolist(), known.images.tolist(), strict=True
        )
    ]
    enough = known.images >= max(known.min_images, 1)
    measured, certain, others = (
        ids[enough[ids] == many]
        for ids, many in ((known.source_only, True), (known.lingering, True), (known.lingering, False))
    )
    sizes = [int((row <= known.v_lo).sum()) for row in evidence.prevalence_by_k[:depth]]
    unknown = known.state.count("unknown")
    gap = f"{unknown} of {len(known.source_only)} source-only classes have no source image: whether they linger is "
    return Findings(
        memories=known,
        relative=relative,
        left=ratio(known.mean_probability[measured], known.source_probability[measured], measured).part(),
        measured=measured,
        best=certain[np.argsort(-np.nan_to_num(low[certain], nan=-1), kind="stable")],
        others=others[np.lexsort((others, -known.images[others]))],
        only_by_k=sizes + [sizes[-1]] * (depth - len(sizes)),  # k beyond the number of classes
        gaps=[f"{gap}unknown, not ruled out."] if unknown else [],
    )

"""What `bias` finds: the votes of both models over the source images, and all that follows from them class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.analysis import AnalysisSession, Memories, class_means, matching_outputs, memories, memory_thresholds
from transferkit.errors import InputError
from transferkit.report import attempt
from transferkit.statistics import Estimate, share
from transferkit_bias import significance
from transferkit_bias.comparison import Comparison, compare
from transferkit_bias.options import Options
from transferkit_bias.votes import bias_index, index_groups, vote_counts

NEUTRAL, SLIGHT, HIGH = 0, 1, 2


@dataclass(frozen=True)
class Votes:
    """Of one model; arrays over the K_s source classes, NaN (or −1 in `group`) for a class without images."""

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
    prior_index: float
    """The bias index of all votes together: 0 for an even split."""
    expected: list[Estimate]
    """Shares of neutral, slight and high classes if every image voted by the global share, and their range."""
    expected_certain: list[Estimate]
    """The same of the tested classes alone."""
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

    @property
    def high_certain(self) -> Estimate:
        """The share of highly biased classes among those with enough images, with an interval over classes."""
        return share(self.group[self.tested] == HIGH) if len(self.targets) > 1 else Estimate(float("nan"))

    @property
    def differing(self) -> float:
        """The share of the tested source classes whose vote differs from the global share; NaN where none can."""
        possible = self.tested.any() and len(self.targets) > 1
        return float(self.significant[self.tested].mean()) if possible else float("nan")


@dataclass(frozen=True)
class Findings:
    """The votes of both models, and which source classes are source-only or lingering where that is known."""

    names: list[str]
    target: Votes
    baseline: Votes | None
    comparison: Comparison
    """How alike the answers to the images of a class are, for both models."""
    known: Memories | None
    min_images: int
    """A class of fewer images has a vote that means little: it is not tested, and not called certain."""
    gaps: list[str]

    @property
    def models(self) -> dict[str, Votes]:
        """The models that were measured."""
        return {"target": self.target} | ({} if self.baseline is None else {"baseline": self.baseline})

    def high_among(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these classes vote highly one-sided, the least explicable by chance first."""
        target = self.target
        high = ids[target.group[ids] == HIGH]
        order = np.lexsort((high, -target.images[high], -target.corrected[high], target.p_value[high]))
        return np.asarray(high[order])

    @property
    def biased_source_only(self) -> NDArray[np.int64]:
        """Highly biased source-only classes, the least explicable by chance first."""
        return self.high_among(np.array([], np.int64) if self.known is None else self.known.source_only)


def measure(session: AnalysisSession, options: Options) -> Findings:
    """The votes of the target model and, where there is one of the same classes, of the baseline."""
    gaps: list[str] = []
    few = memory_thresholds(session).min_images
    target, baseline = votes_of(session, options, "target", few), None
    if session.has("baseline"):
        baseline = attempt(
            gaps, "The baseline was not measured",
            lambda: votes_of(session, options, "baseline", few, session.model("target").classes),
        )  # fmt: skip
    else:
        gaps.append("There is no baseline model trained from scratch, so how biased one would be is unknown.")
    known = attempt(gaps, "Which of the biased classes are source-only was not measured", lambda: memories(session))
    if without := int((target.images == 0).sum()):
        gaps.append(f"{without} of {len(target.images)} source classes have no source image: their bias is unknown.")
    if not target.tested.any() and target.images.any():
        gaps.append(
            f"No source class has {few} images, so none could be tested: at best the variation over all classes says "
            "something."
        )
    if len(target.targets) < 2:
        gaps.append("The target model has a single class, so there is nothing that a source class could favour.")
    names = list(session.predictions("target", "source").classes)
    others = None if baseline is None else baseline.counts
    comparison = compare(target.counts, others, target.tested, session.rng("bias", "halves"))
    return Findings(names, target, baseline, comparison, known, few, gaps)


def votes_of(
    session: AnalysisSession, options: Options, role: str, min_images: int, targets: Sequence[str] | None = None
) -> Votes:
    """The votes of the model in that role, in the order of `targets` (its own by default), and all that follows.

    Of a model with more classes it is the votes among `targets`. Classes with at least `min_images` images are tested.
    Raises InputError for a model without a classifier, and for one of other classes than `targets`.
    """
    predictions = session.predictions(role, "source")
    own = predictions.head.classes
    names = list(own if targets is None else targets)
    if not names:
        raise InputError(f"the {role} model tells no classes apart")
    order, classes, labels = matching_outputs(names, own), len(predictions.classes), predictions.labels
    parts = [logits[:, order] for _, logits in predictions.chunks()]
    counts = vote_counts(torch.cat([part.argmax(dim=1) for part in parts]), labels, classes, len(names)).numpy()
    sureness = torch.cat([part.double().softmax(dim=1).amax(dim=1) for part in parts])
    images = counts.sum(axis=1)
    whole = significance.global_share(counts)
    p = significance.p_values(counts, whole)
    tested = images >= max(min_images, 1)
    adjusted = significance.adjusted(p, tested)
    with np.errstate(invalid="ignore"):
        shares = torch.from_numpy(counts / images[:, None])
    shuffles = session.rng("bias", role, "shuffles")
    return Votes(
        targets=names,
        counts=counts,
        images=images,
        confidence=class_means(sureness, labels, classes).numpy(),
        index=bias_index(shares).numpy(),
        group=index_groups(torch.from_numpy(counts)).numpy(),
        corrected=significance.corrected_index(counts, whole),
        p_value=p,
        tested=tested,
        p_adjusted=adjusted,
        p_uniform=significance.p_values(counts, np.full(len(names), 1 / len(names))),
        significant=np.nan_to_num(adjusted, nan=1.0) <= options.fdr,
        share=whole,
        prior_index=float(bias_index(torch.from_numpy(whole))),
        expected=significance.expected_groups(images, whole, session.rng("bias", role, "expected")),
        expected_certain=significance.expected_groups(images[tested], whole, session.rng("bias", role, "certain")),
        overdispersion=significance.overdispersion(counts),
        by_chance=significance.overdispersion_by_chance(counts, options.permutations, shuffles),
    )

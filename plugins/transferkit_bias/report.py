"""What the analyzer `bias` says: metrics, small print, tables and pictures put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from transferkit_lingering import Memories, memories
from transferkit_lingering.memory import configured
from transferkit_lingering.wording import count

from transferkit.errors import InputError
from transferkit.report import Report
from transferkit_bias import pictures, tables
from transferkit_bias.measure import HIGH, NEUTRAL, SLIGHT, Votes, measure
from transferkit_bias.verdict import SKEWED, prior_index, verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_bias.analyzer import Bias

NAN = float("nan")


@dataclass(frozen=True)
class Findings:
    """The votes of both models, and which source classes are source-only or lingering where that is known."""

    names: list[str]
    target: Votes
    baseline: Votes | None
    known: Memories | None
    min_images: int
    """A class of fewer images has a vote that means little: it is not tested, and not called certain."""

    @property
    def high(self) -> NDArray[np.bool_]:
        """(K_s,) classes that vote highly one-sided."""
        is_high: NDArray[np.bool_] = self.target.group == HIGH
        return is_high

    def among(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(K_s,) whether a class is one of these."""
        return np.isin(np.arange(len(self.names)), ids)


def report(session: AnalysisSession, options: Bias) -> Report:
    """Everything `Bias.analyze` returns."""
    gaps: list[str] = []
    few = configured(session).min_images
    found = Findings(
        names=list(session.predictions("target", "source").classes),
        target=measure(session, options, "target", few),
        baseline=_baseline(session, options, few, gaps),
        known=_memories(session, gaps),
        min_images=few,
    )
    gaps += _missing(found)
    drawn = pictures.draw(session, found)
    return Report(
        metrics=metrics(found),
        tables=tables.tables(found),
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=gaps,
    )


def _baseline(session: AnalysisSession, options: Bias, min_images: int, gaps: list[str]) -> Votes | None:
    if not session.has("baseline"):
        gaps.append("There is no baseline model trained from scratch, so how biased one would be is unknown.")
        return None
    try:
        return measure(session, options, "baseline", min_images, session.model("target").classes)
    except InputError as error:
        gaps.append(f"The baseline was not measured: {error}.")
        return None


def _memories(session: AnalysisSession, gaps: list[str]) -> Memories | None:
    try:
        return memories(session)
    except InputError as error:
        gaps.append(f"Which of the biased classes are source-only was not measured: {error}.")
        return None


def _missing(found: Findings) -> list[str]:
    lines = []
    without = int((found.target.images == 0).sum())
    if without:
        lines.append(f"{without} of {len(found.names)} source classes have no source image: their bias is unknown.")
    if not found.target.tested.any() and found.target.images.any():
        lines.append(
            f"No source class has {found.min_images} images, so none could be tested: at best the variation over all "
            "classes says something."
        )
    if len(found.target.targets) < 2:
        lines.append("The target model has a single class, so there is nothing that a source class could favour.")
    return lines


def metrics(found: Findings) -> dict[str, float]:
    """Every metric the analyzer declares."""
    target, baseline = found.target, found.baseline
    sure = target.tested & (target.group >= 0)
    return {
        "high": target.part(HIGH),
        "slight": target.part(SLIGHT),
        "neutral": target.part(NEUTRAL),
        "high_expected": float(target.expected[HIGH]),
        "high_certain": float(found.high[sure].mean()) if sure.any() else NAN,
        **_source_only_metrics(found),
        "significant": _significant(target),
        "overdispersion": target.overdispersion,
        "prior_index": prior_index(target),
        "high_baseline": baseline.part(HIGH) if baseline else NAN,
        "slight_baseline": baseline.part(SLIGHT) if baseline else NAN,
        "neutral_baseline": baseline.part(NEUTRAL) if baseline else NAN,
        "significant_baseline": _significant(baseline) if baseline else NAN,
        "overdispersion_baseline": baseline.overdispersion if baseline else NAN,
    }


def _significant(votes: Votes) -> float:
    """The share of the tested source classes whose vote differs from the global share."""
    possible = votes.tested.any() and len(votes.targets) > 1
    return float(votes.significant[votes.tested].mean()) if possible else NAN


def _source_only_metrics(found: Findings) -> dict[str, float]:
    names = ("high_and_source_only", "high_and_source_only_classes", "lingering_high_bias")
    with_images = int((found.target.group >= 0).sum())
    if found.known is None or not with_images:
        return dict.fromkeys((*names, "lingering_high_bias_certain"), NAN)
    only = int((found.high & found.among(found.known.source_only)).sum())
    lingering = found.high & found.among(found.known.lingering)
    values = (only / with_images, float(only), float(lingering.sum()))
    sure = float((lingering & found.target.tested).sum())
    return {**dict(zip(names, values, strict=True)), "lingering_high_bias_certain": sure}


def notes(session: AnalysisSession, options: Bias, found: Findings) -> list[str]:
    """Counts, what the groups and tests are, what chance gives, and which model the baseline is."""
    target = found.target
    with_images, certain = int((target.images > 0).sum()), int(target.tested.sum())
    lines = [
        f"{count(int(target.images.sum()), 'source image')} of {with_images} of {len(found.names)} source classes, "
        f"{certain} of them with at least {found.min_images} images; a class with one image is always one-sided.",
        "Groups by the bias index: neutral below 0.2, slight below 0.6, high from 0.6 on (with two target classes: "
        "60 % and 80 % of the votes).",
        "p_value: exact test against the share of all votes, two-sided, Bonferroni over target classes where there are "
        f"more than two; significant: false discovery rate {options.fdr:g} (Benjamini-Hochberg) over the {certain} "
        "classes with enough images. p_uniform: the same test against an even vote.",
        _dispersion("target", target),
    ]
    if found.baseline is not None:
        lines += [_dispersion("baseline", found.baseline), f"Baseline: {session.describe('baseline')}."]
    lines.append(
        f"Overdispersion leaves classes with one image out; chance: {options.permutations} shuffles of the votes, seed "
        f"{session.seed}."
    )
    if prior_index(target) >= SKEWED:
        lines.append(
            "The votes as a whole are uneven, so raw bias reflects the classifier's own preference: go by the "
            "corrected index and the p-values."
        )
    return lines


def _dispersion(name: str, votes: Votes) -> str:
    low, high = votes.by_chance
    text = ", ".join(f"{target} {100 * share:.1f} %" for target, share in zip(votes.targets, votes.share, strict=True))
    shown = text if len(votes.targets) <= 8 else f"{len(votes.targets)} classes"
    return f"{name}: all votes {shown}; overdispersion {votes.overdispersion:.2f}, by chance {low:.2f} to {high:.2f}."

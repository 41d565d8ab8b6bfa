"""What the analyzer `retention` says: metrics, verdict, small print, tables and pictures put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transferkit_lingering import Memories, memories

from transferkit.errors import InputError
from transferkit.report import Report
from transferkit_retention import batchnorm, pictures, tables
from transferkit_retention.groups import COMMON, RARE, SOURCE_ONLY, prevalence_groups
from transferkit_retention.intervals import NAN, Comparison, compare
from transferkit_retention.scores import recall_counts
from transferkit_retention.verdict import verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.model import TransferModel
    from transferkit_retention.analyzer import Retention


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
    groups: dict[str, tuple[int, Comparison]]
    """{prevalence group: (classes with images, comparison)}; empty without M^s or target images."""


def report(session: AnalysisSession, options: Retention) -> Report:
    """Everything `Retention.analyze` returns."""
    gaps: list[str] = []
    found = measure(session, options, remembered(session, gaps))
    if found.correct_source is None:
        gaps.append("There is no source model, so its own recall, the ceiling of retention, is unknown.")
    elif found.overall.images and not found.overall.source:
        gaps.append("The source model gets no source image right, so there is nothing to be retained.")
    missing = int((found.total == 0).sum())
    if missing:
        gaps.append(f"{missing} of {len(found.names)} source classes have no source image: their recall is unknown.")
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


def remembered(session: AnalysisSession, gaps: list[str]) -> Memories | None:
    """Prevalence and thresholds, or None and a sentence among the gaps."""
    try:
        return memories(session)
    except InputError as error:
        gaps.append(f"Retention by prevalence was not measured: {error}.")
        return None


def measure(session: AnalysisSession, options: Retention, known: Memories | None) -> Findings:
    """Both models on the source images, from cached predictions."""
    head = session.source_head()
    swap = session.predictions(_backbone(session, options), "source")
    size = len(head.classes)
    after = swap.predicted(head)
    correct_swap, total = recall_counts(after, swap.labels, size)
    right_source, correct_source = None, None
    if session.has("source"):
        before = session.predictions("source", "source").predicted(head)
        correct_source, _ = recall_counts(before, swap.labels, size)
        right_source = (before == swap.labels).numpy()
    right_swap = (after == swap.labels).numpy()
    groups = {}
    for name, members in (prevalence_groups(known, options.common) if known is not None else {}).items():
        groups[name] = _group(session, options, name, members, swap.labels.numpy(), right_source, right_swap)
    rng = session.rng("retention", "bootstrap")
    overall = compare(right_source, right_swap, options.bootstrap, rng)
    return Findings(list(swap.classes), total, correct_source, correct_swap, overall, groups)


def _group(
    session: AnalysisSession,
    options: Retention,
    name: str,
    members: NDArray[np.bool_],
    labels: NDArray[np.int64],
    source: NDArray[np.bool_] | None,
    swap: NDArray[np.bool_],
) -> tuple[int, Comparison]:
    chosen = members[labels]
    rng = session.rng("retention", "bootstrap", name)
    before = None if source is None else source[chosen]
    return len(np.unique(labels[chosen])), compare(before, swap[chosen], options.bootstrap, rng)


def _backbone(session: AnalysisSession, options: Retention) -> str | TransferModel:
    """The role "target", or a copy of M^t with other batch-norm statistics."""
    model = session.model("target")
    if options.bn == "target" or not batchnorm.batch_norms(model):
        return "target"
    if options.bn == "source":
        return batchnorm.with_statistics(model, batchnorm.source_statistics(session))
    return batchnorm.with_statistics(model, batchnorm.recalibrated_statistics(session, options.bn_images))


def metrics(found: Findings) -> dict[str, float]:
    """Every metric the analyzer declares."""
    whole = found.overall
    named = {"top1_source": (whole.source, whole.source_interval), "top1_head_swap": (whole.swap, whole.swap_interval)}
    named["relative_retention"] = (whole.ratio, whole.ratio_interval)
    numbers: dict[str, float] = {}
    for name, (value, (low, high)) in named.items():
        numbers |= {name: value, f"{name}_low": low, f"{name}_high": high}
    for group in (SOURCE_ONLY, RARE, COMMON):
        ratio = found.groups[group][1].ratio if group in found.groups else NAN
        numbers[f"relative_retention_{group.replace('-', '_')}"] = ratio
    return numbers


def notes(session: AnalysisSession, options: Retention, found: Findings) -> list[str]:
    """Counts, chance level, what the intervals are, batch norm, preprocessing, where the head is from."""
    classes, covered = len(found.names), int((found.total > 0).sum())
    lines = [
        f"{found.overall.images} source images of {covered} of {classes} source classes; chance level of top-1: "
        f"{1 / classes:.3g}. A prediction is one of all {classes} classes.",
        "Intervals: 95 %; Wilson for top-1, for ratios a bootstrap over images with both models' answers "
        f"({options.bootstrap} resamples, seed {session.seed}).",
        _batch_norm(session, options),
    ]
    few = int(((found.total > 0) & (found.total < 5)).sum())
    if few:
        lines.append(f"{few} classes have fewer than 5 source images: their own recall is a coarse guess.")
    lines.append(f"A class is common when more than {100 * options.common:g} % of the target images show it.")
    if session.has("source") and session.model("source").preprocessing != session.model("target").preprocessing:
        lines.append("The two models take differently preprocessed images; each got its own.")
    if session.source_head_is_probe:
        lines.append("The source model has no classifier; a ridge regression on its features stands in for it.")
    return lines


def _batch_norm(session: AnalysisSession, options: Retention) -> str:
    norms = len(batchnorm.batch_norms(session.model("target")))
    if not norms:
        return "The backbone has no batch normalisation, so the option bn changes nothing."
    whose = {
        "target": "the fine-tuned model's own",
        "source": "the source model's",
        "recalibrated": f"estimated on up to {options.bn_images} of the source images themselves",
    }
    return f"Running statistics of the {norms} batch norms: {whose[options.bn]} (bn: {options.bn})."

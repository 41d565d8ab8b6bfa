"""The tables of the analyzer `retention`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from transferkit.report import Table
from transferkit_retention.scores import BINS, recall_histogram

if TYPE_CHECKING:
    from transferkit_retention.report import Findings


def tables(found: Findings) -> dict[str, Table]:
    """By prevalence where that is known, the paper's histogram, and every class."""
    result = {"by_prevalence": by_prevalence(found)} if found.groups else {}
    return {**result, "histogram": histogram(found), "retention": everything(found)}


def by_prevalence(found: Findings) -> Table:
    """Top-1 of both models and what is left, per group of classes."""
    rows = [
        [name, classes, part.images, part.source, part.swap, part.ratio, *part.ratio_interval]
        for name, (classes, part) in found.groups.items()
    ]
    columns = ["prevalence", "classes", "images", "top1_source", "top1_head_swap", "relative_retention"]
    return Table([*columns, "relative_low", "relative_high"], rows)


def histogram(found: Findings) -> Table:
    """Table 1 of paper 001 for both models: how many classes have a recall in each bin."""
    columns = {"head_swap": recall_histogram(found.correct_swap, found.total).tolist()}
    if found.correct_source is not None:
        columns["source"] = recall_histogram(found.correct_source, found.total).tolist()
    rows = [[name, *(counts[i] for counts in columns.values())] for i, name in enumerate(BINS)]
    rows.append(["all", *(sum(counts) for counts in columns.values())])
    return Table(["recall", *columns], rows)


def everything(found: Findings) -> Table:
    """Every source class; nulls where there are no images, or no source model."""
    after = recalls(found.correct_swap, found.total)
    before = recalls(found.correct_source, found.total)
    rows = [
        [c, name, images, before[c], after[c], after[c] / before[c] if before[c] else float("nan")]
        for c, (name, images) in enumerate(zip(found.names, found.total.tolist(), strict=True))
    ]
    columns = ["class", "name", "images", "recall_source", "recall_head_swap", "relative_retention"]
    return Table(columns, rows, folded=True)


def recalls(correct: Tensor | None, total: Tensor) -> list[float]:
    """Recall per class; NaN without images, and everywhere when the counts are not known."""
    if correct is None:
        return [float("nan")] * len(total)
    shares: list[float] = (correct.double() / total).tolist()
    return shares

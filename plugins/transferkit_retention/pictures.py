"""The pictures of the analyzer `retention`: by prevalence, the histogram of recalls, and class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis.plots import COLOURS, GRID, SOFT
from transferkit_retention.groups import SHOWN
from transferkit_retention.scores import BINS, recall_histogram
from transferkit_retention.tables import recalls

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_retention.report import Findings

BEFORE, AFTER = COLOURS[0], COLOURS[1]
NAMES = ("source model", "after fine-tuning")


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {}
    if any(part.images for _, part in found.groups.values()):
        captions["by_prevalence.svg"] = _by_prevalence(session, found)
    if found.overall.images:
        captions["histogram.svg"] = _histogram(session, found)
    if found.overall.images and found.correct_source is not None:
        captions["classes.svg"] = _classes(session, found)
    return captions


def _by_prevalence(session: AnalysisSession, found: Findings) -> str:
    groups = {name: part for name, (_, part) in found.groups.items() if part.images and name != SHOWN}
    places = np.arange(len(groups))
    with session.picture("by_prevalence", 6.4, 3.6) as (_, axes):
        for side, (name, colour) in enumerate(zip(NAMES, (BEFORE, AFTER), strict=True)):
            shares = np.array([(part.source, part.swap)[side] for part in groups.values()])
            ends = np.array([(part.source_interval, part.swap_interval)[side] for part in groups.values()])
            whiskers = np.clip(np.stack([shares - ends[:, 0], ends[:, 1] - shares]), 0, None)
            x = places + 0.4 * (side - 0.5)
            axes.bar(x, 100 * shares, width=0.38, color=colour, label=name)
            axes.errorbar(x, 100 * shares, yerr=100 * whiskers, fmt="none", ecolor=SOFT, elinewidth=1.2, capsize=3)
        axes.set_xticks(places, [f"{name}\n{part.images} images" for name, part in groups.items()])
        axes.set_ylim(0, 100)
        axes.set_ylabel("source images named right, %")
        axes.legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.14))
    return (
        "Source images named right under the source's head, before and after fine-tuning, by how often the target "
        "images show their class, with 95 % intervals."
    )


def _histogram(session: AnalysisSession, found: Findings) -> str:
    series = [recall_histogram(found.correct_swap, found.total).numpy()]
    if found.correct_source is not None:
        series.insert(0, recall_histogram(found.correct_source, found.total).numpy())
    names, colours = NAMES[-len(series) :], (BEFORE, AFTER)[-len(series) :]
    places, width = np.arange(len(BINS)), 0.8 / len(series)
    with session.picture("histogram", 6.4, 3.4) as (_, axes):
        for i, (counts, name, colour) in enumerate(zip(series, names, colours, strict=True)):
            axes.bar(places + width * (i - (len(series) - 1) / 2), counts, width=width * 0.94, color=colour, label=name)
        axes.set_xticks(places, [name.replace(" %", "").replace(" to ", "–") for name in BINS])
        axes.set_xlabel("recall of a class, %")
        axes.set_ylabel("source classes")
        axes.legend(loc="upper center", ncols=2)
    return "How many source classes have which recall, in the bins of the paper's table."


def _classes(session: AnalysisSession, found: Findings) -> str:
    """Classes with the same pair of recalls share a dot, whose area grows with their number."""
    known = (found.total > 0).numpy()
    pairs = np.stack([recalls(found.correct_source, found.total), recalls(found.correct_swap, found.total)])[:, known]
    points, times = np.unique(pairs.round(9), axis=1, return_counts=True)
    with session.picture("classes", 5.2, 5.0) as (_, axes):
        axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle="--")
        axes.scatter(100 * points[0], 100 * points[1], s=12 * times**0.75, color=AFTER, alpha=0.55, linewidths=0)
        axes.set_xlim(-6, 106)
        axes.set_ylim(-6, 106)
        axes.set_aspect("equal")
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_xlabel("recall of the source model, %")
        axes.set_ylabel("recall after fine-tuning, %")
    return (
        "Each source class by its recall before and after fine-tuning; a larger dot stands for more classes, below the "
        "dashed line is forgotten."
    )

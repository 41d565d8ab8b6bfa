"""The pictures of the analyzer `retention`: by prevalence, the histogram of recalls, and class by class."""

from __future__ import annotations

import numpy as np

from transferkit.analysis import COLOURS, AnalysisSession, agreement, grouped_bars, name_points, short_name
from transferkit.report import first_name
from transferkit_retention.measure import SHOWN, Findings
from transferkit_retention.scores import BINS, recall_histogram, recalls

BEFORE, AFTER = "source model", "after fine-tuning"
NAMED = 0.2  # change of recall from which on a class may be named


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Draw what there is to draw; {file: caption}."""
    captions = {}
    if any(group.images for group in found.groups.values()):
        captions["by_prevalence.svg"] = _by_prevalence(session, found)
    if found.overall.images:
        captions["histogram.svg"] = _histogram(session, found)
    if found.overall.images and found.correct_source is not None:
        captions["classes.svg"] = _classes(session, found)
    return captions


def _by_prevalence(session: AnalysisSession, found: Findings) -> str:
    groups = {name: group for name, group in found.groups.items() if group.images and name != SHOWN}
    shares = {BEFORE: [group.source for group in groups.values()], AFTER: [group.swap for group in groups.values()]}
    with session.picture("by_prevalence", 6.4, 3.6) as (_, axes):
        grouped_bars(axes, [f"{name}\n{group.images} images" for name, group in groups.items()], shares, scale=100)
        axes.set_ylim(0, 100)
        axes.set_ylabel("source images named right, %")
        axes.legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.14))
    return (
        "Source images named right under the source's head, before and after fine-tuning, by how often the target "
        "images show their class, with 95 % intervals."
    )


def _histogram(session: AnalysisSession, found: Findings) -> str:
    correct = {BEFORE: found.correct_source, AFTER: found.correct_swap}
    counts = {
        name: recall_histogram(right, found.total).tolist() for name, right in correct.items() if right is not None
    }
    with session.picture("histogram", 6.4, 3.4) as (_, axes):
        bins = [name.replace(" %", "").replace(" to ", "–") for name in BINS]
        grouped_bars(axes, bins, counts, colours=COLOURS[2 - len(counts) : 2])
        axes.set_xlabel("recall of a class, %")
        axes.set_ylabel("source classes")
        axes.legend(loc="upper center", ncols=2)
    return "How many source classes have which recall, in the bins of the paper's table."


def _classes(session: AnalysisSession, found: Findings) -> str:
    before, after = recalls(found.correct_source, found.total), recalls(found.correct_swap, found.total)
    with session.picture("classes", 5.2, 5.0) as (_, axes):
        agreement(axes, 100 * np.array(before), 100 * np.array(after), colour=COLOURS[1], limits=(0, 100))
        axes.set_xlabel("recall of the source model, %")
        axes.set_ylabel("recall after fine-tuning, %")
        change = np.abs(np.array(after) - np.array(before))
        surely = change * np.sqrt(found.total.numpy())
        changed = [one for one in np.argsort(-surely, kind="stable") if change[one] > NAMED]  # NaN is no change
        every = [(100 * x, 100 * y) for x, y in zip(before, after, strict=True) if np.isfinite(x) and np.isfinite(y)]
        places = [(100 * before[one], 100 * after[one]) for one in changed]
        name_points(axes, places, [short_name(first_name(found.names[one]), 16) for one in changed], dots=every)
    return (
        "Each source class by its recall before and after fine-tuning; a larger dot stands for more classes, below the "
        "dashed line is forgotten. Named are those that changed most."
    )

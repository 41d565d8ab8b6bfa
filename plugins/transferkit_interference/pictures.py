"""The pictures of the analyzer `interference`: scores by group, and the comparison on its first and last question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis.plots import COLOURS, SOFT
from transferkit_interference.detectors import Eq5
from transferkit_interference.evaluation import Groups, Row

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

GROUPS = {
    "clean": "clean target images",
    "shared": "source classes common in the target",
    "composites": "target images on lingering classes",
    "lingering": "source images of lingering classes",
}


def draw(session: AnalysisSession, groups: Groups, score: Eq5, threshold: float, rows: Sequence[Row]) -> dict[str, str]:
    """{file: caption}."""
    _scores(session, groups, score, threshold)
    _comparison(session, rows)
    return {
        "scores.svg": "Share of each group of images whose score is at least so large; the vertical line is the "
        "threshold. No image had a part in choosing, fitting or calibrating.",
        "comparison.svg": "Presence: unseen source images of lingering classes against clean target images. "
        "Specificity: the same images against source classes that are common in the target. AUROC, 0.5 is chance; "
        "bars: 95 % intervals.",
    }


def _scores(session: AnalysisSession, groups: Groups, score: Eq5, threshold: float) -> None:
    with session.picture("scores", 6.4, 4.6) as (_, axes):
        for place, (name, title) in enumerate(GROUPS.items()):
            if not len(groups.seen[name]):
                continue
            values = np.sort(score(groups.seen[name]))
            share = 100 * (1 - np.arange(len(values)) / len(values))
            axes.step(values, share, where="post", color=COLOURS[place], label=f"{title} ({len(values)})")
        axes.axvline(threshold, color=SOFT, linestyle="--", linewidth=1)
        axes.set_xlabel("score")
        axes.set_ylabel("images with at least this score, %")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(0, 103)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0))


def _comparison(session: AnalysisSession, rows: Sequence[Row]) -> None:
    with session.picture("comparison", 6.4, 1.4 + 0.36 * len(rows)) as (_, axes):
        for shift, marker, colour, title in ((-0.14, "o", 0, "presence"), (0.14, "s", 1, "specificity")):
            for place, row in enumerate(rows):
                found = row.presence if title == "presence" else row.specificity
                if math.isnan(found.value):
                    continue
                ends = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
                axes.errorbar(
                    [found.value], [place + shift], xerr=None if math.isnan(found.low) else ends, fmt=marker,
                    color=COLOURS[colour], markersize=7, elinewidth=1.4, label=title if place == 0 else None,
                )  # fmt: skip
        axes.set_yticks(range(len(rows)), [row.detector.name for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axvline(0.5, color=SOFT, linestyle=":", linewidth=1)
        axes.set_xlabel("AUROC")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, columnspacing=1.2)

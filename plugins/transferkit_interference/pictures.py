"""The pictures of the analyzer `interference`: scores by group, and the comparison on its first and last question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import COLOURS, SOFT, dots, legend_above
from transferkit_interference.detectors import Eq5
from transferkit_interference.measure import Findings

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

GROUPS = {
    "clean": "clean target images",
    "shared": "source classes common in the target",
    "composites": "target images on lingering classes",
    "lingering": "source images of lingering classes",
}


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """{file: caption}."""
    return {"scores.svg": _scores(session, found), "comparison.svg": _comparison(session, found)}


def _scores(session: AnalysisSession, found: Findings) -> str:
    with session.picture("scores", 6.4, 4.6) as (_, axes):
        for colour, (name, title) in zip(COLOURS, GROUPS.items(), strict=False):
            seen = found.groups.seen[name]
            if len(seen):
                share = 100 * (1 - np.arange(len(seen)) / len(seen))
                scores = np.sort(found.shipped.score(seen))
                axes.step(scores, share, where="post", color=colour, label=f"{title} ({len(seen)})")
        threshold = found.shipped.file.detect_p
        axes.axvline(threshold, color=SOFT, linestyle="--", linewidth=1, label=f"threshold {threshold:.3g}")
        axes.set(xlabel="score", ylabel="images with at least this score, %", ylim=(0, 103))
        if isinstance(found.shipped.score, Eq5):
            axes.set(xlim=(-0.01, 1.01))
        legend_above(axes, columns=1)
    return (
        "Share of each group of images whose score is at least so large; the vertical line is the threshold. No image "
        "had a part in choosing, fitting or calibrating."
    )


def _comparison(session: AnalysisSession, found: Findings) -> str:
    places = np.arange(len(found.rows))
    presence, specificity = [row.presence for row in found.rows], [row.specificity for row in found.rows]
    with session.picture("comparison", 6.4, 1.4 + 0.36 * len(places)) as (_, axes):
        dots(axes, places - 0.14, presence, colour=COLOURS[0], label="presence", horizontal=True)
        dots(axes, places + 0.14, specificity, colour=COLOURS[1], label="specificity", marker="s", horizontal=True)
        axes.set_yticks(places, [row.detector.name for row in found.rows])
        axes.axvline(0.5, color=SOFT, linestyle=":", linewidth=1)
        axes.set(xlabel="AUROC", ylim=(len(places) - 0.5, -0.5))
        legend_above(axes)
    return (
        "Presence: unseen source images of lingering classes against clean target images. Specificity: the same images "
        "against source classes that are common in the target. AUROC, 0.5 is chance; bars: 95 % intervals over source "
        "classes and clean images."
    )

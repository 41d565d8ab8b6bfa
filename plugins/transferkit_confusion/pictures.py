"""The picture of the analyzer `confusion`: figure 2 of paper 001, accuracy by what the background is taken for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.analysis.plots import COLOURS, SOFT

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_confusion.clustered import Share

PLACES = {"with": "same class", "neutral": "none of them", "against": "another class", "colour": "(one colour)"}
NAMES = {"target": "fine-tuned", "baseline": "baseline"}
MARKERS = {"target": "o", "baseline": "s"}


def draw(session: AnalysisSession, found: dict[str, dict[str, Share]], classes: int) -> dict[str, str]:
    """Dots with intervals per model and group; {file: caption}."""
    with session.picture("accuracy", 6.4, 3.8) as (_, axes):
        for place, (role, shares) in enumerate(found.items()):
            shift = 0.16 * (place - (len(found) - 1) / 2)
            for x, group in enumerate(PLACES):
                share = shares[group]
                if math.isnan(share.value):
                    continue
                ends = [[100 * max(0, share.value - share.low)], [100 * max(0, share.high - share.value)]]
                axes.errorbar(
                    [x + shift], [100 * share.value], yerr=ends, fmt=MARKERS[role], color=COLOURS[place], markersize=8,
                    elinewidth=1.6, capsize=3, label=NAMES[role] if x == 0 else None,
                )  # fmt: skip
        axes.set_xticks(range(len(PLACES)), list(PLACES.values()))
        axes.set_xlim(-0.5, len(PLACES) - 0.5)
        axes.set_ylim(0, 104)
        axes.axhline(100 / classes, color=SOFT, linestyle=":", linewidth=1, label="chance")
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel("what the background alone is taken for by the fine-tuned model")
        axes.legend(loc="lower left")
    return {
        "accuracy.svg": "Accuracy on target images pasted on source images, by whether the fine-tuned model takes the "
        "background alone for the pasted object's class, for no class in particular, or for another; at the right the "
        "same objects on one colour. Bars: 95 % intervals over overlays."
    }

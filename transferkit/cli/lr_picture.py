"""The loss over the learning rate, with what it suggests and what was checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transferkit.analysis.drawings import curves, legend_above
from transferkit.analysis.plots import COLOURS, SOFT, picture
from transferkit.runs.lr_range import RangeTest


def draw_rates(path: Path, found: RangeTest) -> None:
    """Write the SVG file: every step's loss, its smoothed curve, the suggestion, the short runs, the limit."""
    finite = [(rate, loss) for rate, loss in zip(found.rates, found.losses, strict=True) if np.isfinite(loss)]
    x, losses = (np.asarray(column, dtype=np.float64) for column in zip(*finite, strict=True))
    with picture(path) as (_, axes):
        axes.plot(x, losses, color=SOFT, linewidth=0.8, label="each step")
        curves(axes, {"smoothed": (x, np.asarray(found.smoothed))}, linewidth=1.8)
        if found.suggested is not None:
            axes.axvline(found.suggested, color=COLOURS[1], linestyle="--", linewidth=1.2, label="suggested")
        done = [(one.lr, one.loss) for one in found.checked if one.loss is not None]
        if done:
            axes.plot(*zip(*done, strict=True), "o", color=COLOURS[2], label="short runs")
        if found.limit is not None and found.limit <= 3 * x[-1]:
            axes.axvline(found.limit, color=COLOURS[3], linestyle=":", linewidth=1.2, label="the head's limit")
        axes.set_xscale("log")
        axes.set_ylim(top=min(float(losses.max()), 2 * float(losses[0])) * 1.05)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        legend_above(axes, columns=3)

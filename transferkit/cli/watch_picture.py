"""E-values over time, as a share of those at which the alarm is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transferkit.analysis.drawings import curves, legend_above
from transferkit.analysis.plots import COLOURS, SOFT, picture
from transferkit.deploy.monitor import Monitor

LEAST, MOST = -4.0, 4.0  # powers of ten off the limit: what is further off is drawn there


def draw_evidence(path: Path, monitor: Monitor) -> None:
    """Write the SVG file: the rate's e-value and the nearest class's, each over its own limit, by record."""
    history = monitor.history or [(0, LEAST, LEAST)]
    records, rate, nearest = (np.asarray(column, dtype=np.float64) for column in zip(*history, strict=True))
    lines = {"rate of flags": (records, 10 ** np.clip(rate, LEAST, MOST))}
    if len(monitor.watched) > 1:
        lines["nearest source class"] = (records, 10 ** np.clip(nearest, LEAST, MOST))
    with picture(path) as (_, axes):
        curves(axes, lines, linewidth=1.6)
        axes.axhline(1, color=SOFT, linestyle="--", linewidth=1)
        for alarm in monitor.alarms:
            axes.axvline(alarm.record, color=COLOURS[0 if alarm.name is None else 1], linestyle=":", linewidth=1)
        axes.set_yscale("log")
        axes.set_xlabel("answers")
        axes.set_ylabel("e-value / that of an alarm")
        legend_above(axes)

"""The picture of `growth`: every old class before, after, among old classes, and by joint training."""

from __future__ import annotations

import numpy as np

from transferkit.analysis import AnalysisSession, grouped_bars, legend_above, short_name
from transferkit.report import first_name
from transferkit_growth.measure import Findings

MOST = 12


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """{file: caption}: the classes of which most was forgotten, most first."""
    old = found.old
    right = {"before": old.before, "after": old.right, "among old classes": old.among_old == old.labels}
    if old.joint is not None:
        right["joint training"] = old.joint == old.labels
    labels = np.unique(old.labels)
    shares = {name: np.array([flags[old.labels == one].mean() for one in labels]) for name, flags in right.items()}
    order = np.argsort(shares["after"] - shares["before"], kind="stable")[:MOST]
    with session.picture("classes", max(6.4, 0.9 * len(order)), 3.8) as (_, axes):
        names = [short_name(first_name(found.classes[labels[one]]), 12) for one in order]
        grouped_bars(axes, names, {name: values[order].tolist() for name, values in shares.items()}, scale=100)
        axes.set_ylim(0, 100)
        axes.set_ylabel("images of the class named right, %")
        legend_above(axes)
    which = f"The {len(order)} old classes" if len(labels) > len(order) else "Old classes"
    return {
        "classes.svg": f"{which} by what was forgotten, most first: before the new classes were learned, after, and "
        "after if only old classes could be answered. What is missing there was lost; what is right there and wrong "
        "among all classes is taken for a new one."
    }

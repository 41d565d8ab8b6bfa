"""What `growth` says of what it found: metrics and tables here, sentences and the picture next door."""

from __future__ import annotations

import math

import numpy as np

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table
from transferkit.statistics import Estimate, paired_difference, share
from transferkit_growth.measure import Findings, measure
from transferkit_growth.options import Options
from transferkit_growth.pictures import draw
from transferkit_growth.verdict import notes, verdict

UNKNOWN = Estimate(math.nan)


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Growth.analyze` returns."""
    found = measure(session, options)
    values = metrics(found)
    return Report(
        metrics=values,
        tables=tables(found),
        captions=draw(session, found),
        verdict=verdict(found, values),
        notes=notes(found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares."""
    old, new, gone = found.old, found.new, found.old.forgetting
    by_joint = None if old.joint is None else old.joint == old.labels
    new_right = None if new is None else new.after == new.labels
    new_joint = None if new is None or new.joint is None else new.joint == new.labels
    answered = np.isin(old.after, found.new_classes)
    return {
        "top1_before": share(old.before),
        "top1_after": share(old.right),
        "top1_among_old": share(old.among_old == old.labels),
        "top1_joint": UNKNOWN if by_joint is None else share(by_joint),
        "forgotten": gone.total,
        "forgotten_over_classes": gone.over_classes,
        "confused": gone.confused,
        "lost": gone.lost,
        "answered_new": share(answered),
        "joint_gap": UNKNOWN if by_joint is None else paired_difference(old.right, by_joint),
        "top1_new": UNKNOWN if new_right is None else share(new_right),
        "top1_new_joint": UNKNOWN if new_joint is None else share(new_joint),
        "joint_gap_new": UNKNOWN if new_right is None or new_joint is None else paired_difference(new_right, new_joint),
    }


def tables(found: Findings) -> dict[str, Table]:
    """Every old class that has images, what was forgotten most first; and every new one."""
    old, rows = found.old, []
    for label in np.unique(old.labels).tolist():
        of = old.labels == label
        forgotten = paired_difference(old.right[of], old.before[of])
        wrong = old.after[of & ~old.right]
        most = found.classes[int(np.bincount(wrong).argmax())] if len(wrong) else ""
        rows.append(
            {
                "class": label,
                "name": found.classes[label],
                "images": int(of.sum()),
                "top1_before": float(old.before[of].mean()),
                "top1_after": float(old.right[of].mean()),
                "top1_among_old": float((old.among_old[of] == label).mean()),
                "top1_joint": math.nan if old.joint is None else float((old.joint[of] == label).mean()),
                **forgotten.columns("forgotten"),
                "answered_new": float(np.isin(old.after[of], found.new_classes).mean()),
                "mostly_taken_for": most,
            }
        )
    rows.sort(key=lambda row: (-row["forgotten"], row["class"]))
    made = {"growth": Table.of(rows)}
    if found.new is not None:
        made["new"] = Table.of(
            [
                {
                    "class": label,
                    "name": found.classes[label],
                    "images": int((found.new.labels == label).sum()),
                    "top1": float((found.new.after[found.new.labels == label] == label).mean()),
                    "top1_joint": math.nan
                    if found.new.joint is None
                    else float((found.new.joint[found.new.labels == label] == label).mean()),
                }
                for label in np.unique(found.new.labels).tolist()
            ]
        )
    return made

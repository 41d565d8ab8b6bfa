"""What `data` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math

import numpy as np

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table
from transferkit.statistics import Estimate, share
from transferkit_data_audit.issues import KINDS, PLACES, SHARES
from transferkit_data_audit.measure import Findings, measure
from transferkit_data_audit.options import Options
from transferkit_data_audit.pictures import draw
from transferkit_data_audit.verdict import notes, verdict

COLUMNS = ("issue", "split", "id", "class", "score", "suggestion")


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Data.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(found),
        captions=draw(session, options, found),
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares."""
    nothing = Estimate(math.nan)
    told = found.shortcuts
    return {
        "images": len(found.pool),
        "issues": len(found.issues),
        **{kind.key: found.shares.get(name, nothing) for name, kind in SHARES.items()},
        "leaked_exactly": found.leaked_exactly,
        "shortcuts": len(found.of("shortcut")) if told else math.nan,
        **{f"told_by_{name}": share(told[name].right) if name in told else nothing for name in PLACES},
        "told_by_chance": chance(found),
        "shortcut_p": float(np.nanmin([np.nanmin(one.p) for one in told.values()])) if told else math.nan,
    }


def chance(found: Findings) -> float:
    """The share that is right of somebody who always says the largest class of those that were drawn."""
    if not found.shortcuts:
        return math.nan
    return float(np.bincount(found.pool.labels[found.drawn]).max() / len(found.drawn))


def tables(found: Findings) -> dict[str, Table]:
    """How much of each issue and what it means; every issue, the worst of a kind first; what tells which class."""
    rows = []
    for name, kind in KINDS.items():
        issues = found.of(name)
        if name == "shortcut":
            columns = Estimate(math.nan).columns("share", "low", "high")
        else:
            columns = found.shares.get(name, Estimate(math.nan)).columns("share", "low", "high")
        rows.append({"issue": name, "found": len(issues), **columns, "means": kind.means, "what to do": kind.todo})
    made = {
        "summary": Table.of(rows),
        "issues": Table.of([one.row() for one in found.issues], columns=COLUMNS, folded=True),
    }
    if found.shortcuts:
        kept = np.unique(found.pool.labels[found.drawn]).tolist()
        made["shortcuts"] = Table.of(
            [
                {"from": name, "class": found.pool.classes[one], "auc": float(told.auc[k]), "p": float(told.p[k])}
                for name, told in found.shortcuts.items()
                for k, one in enumerate(kept)
            ],
            folded=True,
        )
    return made

"""The tables of `erosion`: accuracies, forgetting and shortcuts per arm, plasticity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.report import Table

if TYPE_CHECKING:
    from transferkit_erosion.report import Findings


def tables(found: Findings) -> dict[str, Table]:
    """Those that have rows."""
    made = {
        "accuracy": accuracy(found),
        "forgetting": lost(found),
        "shortcut": shortcut(found),
        "plasticity": relearned(found),
    }
    return {name: table for name, table in made.items() if table.rows}


def accuracy(found: Findings) -> Table:
    """Every arm on every test set."""
    rows = [
        [arm, test, len(answers.labels), answers.accuracy, *answers.interval]
        for arm, tests in found.arms.answers.items()
        for test, answers in tests.items()
    ]
    return Table(["arm", "test_set", "images", "accuracy", "low", "high"], rows)


def lost(found: Findings) -> Table:
    """What every arm forgot of the clean task; `ratio` is the share of its training images with a mark."""
    rows = [
        [arm, found.ratios.get(arm), loss.value, loss.low, loss.high, loss.normalised]
        for arm, loss in found.losses.items()
    ]
    return Table(["arm", "ratio", "forgetting", "low", "high", "normalised_forgetting"], rows)


def shortcut(found: Findings) -> Table:
    """Whether every arm learned the mark."""
    rows = [[arm, item.gate, item.reliance, item.alone] for arm, item in found.shortcuts.items()]
    known = [row for row in rows if any(value == value for value in row[1:])]
    return Table(["arm", "gate", "shortcut_reliance", "accuracy_mark_alone"], known)


def relearned(found: Findings) -> Table:
    """Against training from scratch on the same budget."""
    rows = [[stage, item.final_gap, item.mean_gap, item.epochs] for stage, item in found.plasticity.items()]
    return Table(["stage", "final_gap", "mean_gap", "epochs_to_95_percent_of_scratch"], rows)

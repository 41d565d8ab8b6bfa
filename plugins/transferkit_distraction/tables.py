"""The tables: one row per source class, and one per composite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from transferkit.report import Table

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit_distraction.study import Found, Study
    from transferkit_distraction.summary import Summary

ROLES = ("target", "baseline")
COLUMNS = (
    "class",
    "name",
    "state",
    "images",
    "composites",
    "target",
    "baseline",
    "difference",
    "unrelated_target",
    "unrelated_baseline",
    "flip_rate_target",
    "flip_rate_baseline",
    "accuracy_target",
    "accuracy_baseline",
    "alone_target",
    "alone_baseline",
    "empty_target",
    "empty_baseline",
    "empty_source",
    "unmeasured_target",
    "unmeasured_baseline",
)
MEASURED = (
    "distraction_target",
    "distraction_baseline",
    "predicted_target",
    "probability_target",
    "on_colour_target",
    "predicted_baseline",
    "probability_baseline",
    "on_colour_baseline",
    "empty_target",
    "empty_baseline",
    "empty_source",
    "without_source_view",
    "without_control",
)


def tables(study: Study, summary: Summary) -> dict[str, Table]:
    """`distraction` per class, the most distracted first; `composites` the manifest with what was measured."""
    rows = sorted(summary.rows, key=lambda row: (row.state != "lingering", row.state, *_descending(row.target)))
    per_class = [[row.number, *(getattr(row, column) for column in COLUMNS[1:])] for row in rows]
    names, manifest = study.composites.rows()
    measured = {
        index: values
        for found in study.found
        for index, values in zip(found.part.indices, _measured(study, found), strict=True)
    }
    per_composite = [[*row, *measured[index]] for index, row in enumerate(manifest)]
    return {
        "distraction": Table(COLUMNS, per_class, folded=True),
        "composites": Table([*names, *MEASURED], per_composite, folded=True),
    }


def _descending(value: float) -> tuple[bool, float]:
    """A sort key: largest first, NaN last."""
    return (True, 0.0) if math.isnan(value) else (False, -value)


def _measured(study: Study, found: Found) -> list[list[Any]]:
    """One row of MEASURED per composite; None where there is nothing."""
    count = len(found.part.indices)
    nothing = [None] * count
    views, classes = found.views, study.classes

    def named(numbers: Tensor) -> list[str | None]:
        return [classes[number] if number >= 0 else None for number in numbers.tolist()]

    columns: list[list[Any]] = [found.distraction[role].tolist() if role in views else nothing for role in ROLES]
    for role in ROLES:
        if role in views:
            view = views[role]
            columns += [named(view.predicted), view.probability.tolist(), named(view.on_colour)]
        else:
            columns += [nothing] * 3
    columns += [views[role].empty.tolist() if role in views else nothing for role in (*ROLES, "source")]
    for hidden in ("hidden", "control"):
        after = dict(zip(found.occluded["index"].tolist(), named(found.occluded[hidden]), strict=True))
        columns.append([after.get(row) for row in range(count)])
    return [list(row) for row in zip(*columns, strict=True)]

"""What `distraction` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_distraction.classes import SourceClass, mean
from transferkit_distraction.looking import Seen
from transferkit_distraction.measure import Findings, measure
from transferkit_distraction.options import Options
from transferkit_distraction.pictures import draw
from transferkit_distraction.verdict import notes, verdict

ROLES = ("target", "baseline")


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Distraction.analyze` returns."""
    found = measure(session, options)
    captions = draw(session, options, found)
    if options.write_composites:
        found.composites.write(session.out / "composites")
    return Report(
        metrics=metrics(found),
        tables=tables(found),
        captions=captions,
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares; over the lingering classes where nothing else is said."""
    ours, target, baseline = found.ours, found.target, found.baseline
    return {
        "target_mean": found.target_mean,
        "baseline_mean": found.baseline_mean,
        "difference": found.difference,
        "excess": found.excess,
        "shared_target_mean": mean([one.target.distraction for one in found.of("shared")]),
        "unrelated_target": target.unrelated,
        "unrelated_baseline": baseline.unrelated,
        "difference_unrelated": found.above_unrelated,
        "difference_shared": found.above_shared,
        "chance": found.chance,
        "flip_rate_target": target.flip_rate,
        "flip_rate_baseline": baseline.flip_rate,
        "flip_rate_difference": found.flips,
        "accuracy_target": target.accuracy,
        "accuracy_baseline": baseline.accuracy,
        "empty_maps_target": target.empty,
        "empty_maps_baseline": baseline.empty,
        "empty_maps_source": found.empty_source,
        "classes": found.target_mean.n,
        "classes_above_diagonal": found.above_diagonal,
        "p_above_diagonal": found.p_sign,
        "p_value": found.p_value,
        "composites_lingering": sum(len(one.seen.part.indices) for one in ours),
        "recovered": found.occlusion.recovered,
        "recovered_control": found.occlusion.recovered_control,
        "recovered_difference": found.occlusion.difference,
    }


def tables(found: Findings) -> dict[str, Table]:
    """`distraction` per class, the most distracted first; `composites` the manifest with what was measured."""
    classes = sorted(
        found.classes,
        key=lambda one: (one.state != "lingering", one.state, -np.nan_to_num(one.target.distraction, nan=-1.0)),
    )
    names, manifest = found.composites.rows()
    measured = {
        index: numbers
        for one in found.classes
        for index, numbers in zip(one.seen.part.indices, _measured(one.seen, found.names), strict=True)
    }
    composites = [dict(zip(names, row, strict=True)) | measured[index] for index, row in enumerate(manifest)]
    return {
        "distraction": Table.of([_class(one, counted=one in found.ours) for one in classes], folded=True),
        "composites": Table.of(composites, folded=True),
    }


def _class(one: SourceClass, *, counted: bool) -> dict[str, Any]:
    """One row of `distraction`."""
    models = {"target": one.target, "baseline": one.baseline}
    row = {
        "class": one.number,
        "name": one.name,
        "state": one.state,
        "images": one.images,
        "composites": len(one.seen.part.indices),
        **{role: model.distraction for role, model in models.items()},
        "difference": one.difference,
    }
    for what in ("unrelated", "flip_rate", "accuracy", "alone", "empty"):
        row |= {f"{what}_{role}": getattr(model, what) for role, model in models.items()}
    row["empty_source"] = one.empty_source
    return row | {f"unmeasured_{role}": model.unmeasured for role, model in models.items()} | {"in_means": counted}


def _measured(seen: Seen, classes: list[str]) -> list[dict[str, Any]]:
    """What was measured on each composite; None where there is nothing."""
    count = len(seen.part.indices)
    nothing: list[Any] = [None] * count

    def named(numbers: Tensor) -> list[str | None]:
        return [classes[number] if number >= 0 else None for number in numbers.tolist()]

    columns = {f"distraction_{role}": nothing for role in ROLES}
    columns |= {f"distraction_{role}": overlap.tolist() for role, overlap in seen.distraction.items()}
    for role in ROLES:
        view = seen.views.get(role)
        columns[f"predicted_{role}"] = nothing if view is None else named(view.predicted)
        columns[f"probability_{role}"] = nothing if view is None else view.probability.tolist()
        columns[f"on_colour_{role}"] = nothing if view is None else named(view.on_colour)
    for role in (*ROLES, "source"):
        columns[f"empty_{role}"] = seen.views[role].empty.tolist() if role in seen.views else nothing
    for name, hidden in (("without_source_view", "hidden"), ("without_control", "control")):
        after = dict(zip(seen.occluded["index"].tolist(), named(seen.occluded[hidden]), strict=True))
        columns[name] = [after.get(row) for row in range(count)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

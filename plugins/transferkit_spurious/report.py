"""What `spurious` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table
from transferkit.statistics import Estimate, ratio
from transferkit_spurious.findings import REGION, Effect, Findings, Lime
from transferkit_spurious.measure import measure
from transferkit_spurious.options import INTERVENTIONS, Options
from transferkit_spurious.pictures import draw
from transferkit_spurious.verdict import notes, verdict

UNKNOWN = Estimate(math.nan)


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Spurious.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(options, found),
        tables=tables(options, found),
        captions=draw(session, options, found),
        verdict=verdict(options, found),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(options: Options, found: Findings) -> dict[str, Estimate]:
    """Every metric that the analyzer declares, of the target model."""
    block = REGION if found.patches else options.suspect
    effects = {how: found.effects.get(("target", block, how), Effect(UNKNOWN, UNKNOWN)) for how in INTERVENTIONS}
    suspect = floor = share = excess = patch_change = patch_moved = UNKNOWN
    if found.lime is not None:
        key, impact = ("target", options.suspect), found.lime.impact["target"]
        suspect, floor = found.lime.by_block[key], found.lime.floor[key]
        above = impact[:, slice(*options.blocks[options.suspect])].sum(axis=1)
        share = ratio(above, impact.sum(axis=1), np.arange(len(impact))).within(0, 1)
        excess = found.lime.excess.get(key, UNKNOWN)
    if found.patches:
        patch_change, patch_moved = found.patches["target"].effect.change, found.patches["target"].effect.moved
    return {
        "loss": found.loss["target"],
        "loss_restored": found.restored.get("target", (UNKNOWN, UNKNOWN))[0],
        **{f"change_{how}": effect.change for how, effect in effects.items()},
        **{f"moved_{how}": effect.moved for how, effect in effects.items()},
        **{f"excess_{how}": found.excess.get(("target", how), UNKNOWN) for how in INTERVENTIONS},
        "lime_suspect": suspect,
        "lime_floor": floor,
        "lime_suspect_share": share,
        "lime_suspect_excess": excess,
        "patch_change_max": patch_change,
        "patch_moved_max": patch_moved,
    }


def tables(options: Options, found: Findings) -> dict[str, Table]:
    """What was measured, on tables or on images."""
    return _of_images(found) if found.patches else _of_rows(options, found)


def _of_rows(options: Options, found: Findings) -> dict[str, Table]:
    """Effects by block, against the baseline, restored columns, LIME by block and by column."""
    effects = [
        {"model": model, "block": block, "intervention": how, "loss": found.loss[model].value} | _both(effect)
        for (model, block, how), effect in found.effects.items()
    ]
    excess = [
        {"model": model, "block": options.suspect, "intervention": how} | gap.columns("moved_minus_baseline")
        for (model, how), gap in found.excess.items()
    ]
    restored = [
        {"model": model, "loss": found.loss[model].value, "loss_restored": loss.value} | change.columns("change")
        for model, (loss, change) in found.restored.items()
    ]
    impact = [] if found.lime is None else _by_block(found.lime)
    rows = {"interventions": effects, "against_baseline": excess, "restored": restored, "lime": impact}
    made = {name: Table.of(some) for name, some in rows.items() if some}
    if found.lime is None:
        return made
    means, columns = np.stack([impact.mean(axis=0) for impact in found.lime.impact.values()]), []
    for column, of_models in enumerate(means.T.tolist()):
        inside = (name for name, (first, end) in options.blocks.items() if first <= column < end)
        columns.append([column, next(inside, "–"), *of_models])
    names = ["column", "block", *found.lime.impact]  # a stage may be called "block"
    return made | {"lime_columns": Table(names, columns, folded=True)}


def _by_block(lime: Lime) -> list[dict[str, Any]]:
    """The impact of every model's blocks beside what noise alone would make of it."""
    return [
        {"model": model, "block": block}
        | mean.columns("impact")
        | lime.floor[model, block].columns("floor", "floor_low", "floor_high")
        | lime.beyond[model, block].columns("impact_minus_floor", "beyond_low", "beyond_high")
        for (model, block), mean in lime.by_block.items()
    ]


def _of_images(found: Findings) -> dict[str, Table]:
    """Every patch, and the region."""
    patches = [
        {"model": name, "row": row, "column": column, "change": float(change), "moved": float(one.moved[row, column])}
        for name, one in found.patches.items()
        for (row, column), change in np.ndenumerate(one.change)
    ]
    region = [
        {"model": model, "intervention": how} | _both(effect) for (model, _, how), effect in found.effects.items()
    ]
    excess = [
        {"model": model, "intervention": how} | gap.columns("moved_minus_baseline")
        for (model, how), gap in found.excess.items()
    ]
    rows = {"region": region, "against_baseline": excess}
    return {"patches": Table.of(patches, folded=True)} | {name: Table.of(some) for name, some in rows.items() if some}


def _both(effect: Effect) -> dict[str, Any]:
    return effect.change.columns("change", "change_low", "change_high") | effect.moved.columns(
        "moved", "moved_low", "moved_high"
    )

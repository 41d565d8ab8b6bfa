"""What the analyzer `spurious` says: metrics, verdict, small print, tables and pictures put together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.data.tables import TableSamples
from transferkit.report import Report
from transferkit_spurious import pictures, regions, rows, tables, verdict
from transferkit_spurious.analyzer import INTERVENTIONS, Spurious
from transferkit_spurious.models import Subject, subjects

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession

BUILT_IN = (
    "Where the target ignores columns that are independent of all others, putting them in another order of the rows "
    "(permute, or a table with them restored) changes nothing in law: that it hardly matters to a model is built in "
    "and says nothing about transfer. Shift, scale and correlate leave the law of the training data, and can tell."
)


def report(session: AnalysisSession, options: Spurious) -> Report:
    """Everything `Spurious.analyze` returns."""
    if isinstance(session.samples("target", session.overlay_split()), TableSamples):
        return _of_rows(session, options)
    return _of_images(session, options)


def _of_rows(session: AnalysisSession, options: Spurious) -> Report:
    models = subjects(session, options, source=True)
    found = rows.measure(session, options, models)
    metrics = dict.fromkeys(Spurious.metrics, math.nan)
    metrics["loss"] = found.loss["target"].mean
    if "target" in found.restored:
        metrics["loss_restored"] = found.restored["target"][0].mean
    for how in INTERVENTIONS:
        effect = found.effect("target", options.suspect, how)
        if effect is not None:
            metrics[f"change_{how}"], metrics[f"moved_{how}"] = effect.change.mean, effect.moved.mean
        if ("target", how) in found.excess:
            metrics[f"excess_{how}"] = found.excess["target", how].mean
    if found.impact:
        first, end = options.blocks[options.suspect]
        total = found.impact["target"].sum()
        metrics["lime_suspect"] = found.impact_by_block["target", options.suspect].mean
        if total > 0:
            metrics["lime_suspect_share"] = float(found.impact["target"][:, first:end].sum() / total)
        if "target" in found.impact_excess:
            metrics["lime_suspect_excess"] = found.impact_excess["target"].mean
    drawn = pictures.of_rows(session, options, found)
    return Report(
        metrics=metrics,
        tables=tables.of_rows(options, found),
        figures=list(drawn),
        captions=drawn,
        verdict=verdict.of_rows(options, found),
        notes=_row_notes(session, options, found, models),
        gaps=_gaps(models),
    )


def _row_notes(session: AnalysisSession, options: Spurious, found: rows.Table, models: list[Subject]) -> list[str]:
    notes = [
        BUILT_IN,
        f"{found.rows} rows of the split {session.overlay_split()}; intervals: 95 %, bootstrap over rows "
        f"({options.bootstrap} resamples, seed {session.seed}). They are of rows, not of trainings: repeat for those.",
        "Change: of the squared error. Moved: |changed answer - answer|, in units of the standardised output. Shift is "
        "by one s.d. of the training column, scale twice as far from its mean, occlude its mean, correlate the "
        "standardised output in its place, so that it gives the answer away.",
        *_who(session, models),
    ]
    if found.own_rows.get("source") not in (None, found.own_rows["target"]):
        notes.append(f'The source model was given rows of "{found.own_rows["source"]}", the others the target\'s.')
    if options.instances:
        notes.append(
            f"LIME: {options.instances} rows, {options.samples} perturbed rows each, the same for every model; impact "
            "is |coefficient x s.d. of the column|, intervals are over the explained rows. Absolute values never "
            "average to 0: compare models and blocks."
        )
    return notes


def _of_images(session: AnalysisSession, options: Spurious) -> Report:
    models = subjects(session, options, source=False)
    found = regions.measure(session, options, models)
    metrics = dict.fromkeys(Spurious.metrics, math.nan)
    metrics["loss"] = found.loss["target"].mean
    change, moved = found.patches["target"]
    metrics["patch_change_max"], metrics["patch_moved_max"] = float(change.max()), float(moved.max())
    for how in regions.ON_IMAGES:
        if ("target", how) in found.effects:
            one = found.effects["target", how]
            metrics[f"change_{how}"], metrics[f"moved_{how}"] = one[0].mean, one[1].mean
        if ("target", how) in found.excess:
            metrics[f"excess_{how}"] = found.excess["target", how].mean
    drawn = pictures.of_images(session, found)
    notes = [
        f"{found.images} images of the split {found.split}; intervals: 95 %, bootstrap over images "
        f"({options.bootstrap} resamples, seed {session.seed}).",
        "Occluded is the mean colour of the preprocessing; shift adds its standard deviation; permute shows what "
        "another image has there. Moved: |change of the label's probability|. Any of these makes images that the model "
        "was not trained on, and a patch that matters need not be spurious: look at the pictures.",
        *_who(session, models),
    ]
    return Report(
        metrics=metrics,
        tables=tables.of_images(found),
        figures=list(drawn),
        captions=drawn,
        verdict=verdict.of_images(found),
        notes=notes,
        gaps=_gaps(models) + ([] if options.region else ["No region was named, so none was shifted or permuted."]),
    )


def _who(session: AnalysisSession, models: list[Subject]) -> list[str]:
    return [f"{one.name}: {session.describe(one.role)}." for one in models if one.role != "stage"]


def _gaps(models: list[Subject]) -> list[str]:
    if any(one.role == "baseline" for one in models):
        return []
    return [
        "There is no baseline (a model of the target task from scratch), so what fine-tuning carried over cannot be "
        "told from what the target itself teaches: name one with baseline."
    ]

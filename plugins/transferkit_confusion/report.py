"""What `confusion` says of what it found: metrics, tables and the picture here, sentences next door."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from transferkit.analysis import COLOURS, SOFT, AnalysisSession, dots
from transferkit.report import Report, Table
from transferkit.statistics import Estimate, effective_size
from transferkit_confusion.intervals import clustered_share
from transferkit_confusion.measure import Findings, measure
from transferkit_confusion.options import Options
from transferkit_confusion.picks import Background
from transferkit_confusion.trial import SHOWN, Trial
from transferkit_confusion.verdict import notes, verdict

OPEN = 20  # longer tables are shown closed
PLACES = {"with": "same class", "neutral": "none of them", "against": "another class", "colour": "(one colour)"}
NAMES = {"target": "fine-tuned", "baseline": "baseline"}
MARKERS = {"target": "o", "baseline": "s"}


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Confusion.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(found.trial),
        captions=draw(session, found),
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares."""
    trial, nothing = found.trial, Estimate(math.nan)
    values: dict[str, float | Estimate] = {
        f"contrast_{name}": found.contrasts.get(name, nothing) for name in ("target", "baseline", "difference")
    }
    for role, key in (("target", "bias_chosen_held_out"), ("baseline", "bias_chosen_baseline")):
        values[key] = trial.bias_chosen(role) if trial.halved and role in trial.answers else nothing
    values["bias_all_held_out"] = trial.bias_of_all if trial.halved else math.nan
    for role in ("target", "baseline"):
        accuracy = trial.accuracy(role) if role in trial.answers else {}
        values[f"accuracy_all_{role}"] = trial.overall(role) if accuracy else nothing
        values |= {f"accuracy_{one}_{role}": accuracy[one].value if accuracy else math.nan for one in SHOWN}
    return values | {"composites": float(len(trial.composites)), "overlays": float(len(np.unique(trial.overlay)))}


def tables(trial: Trial) -> dict[str, Table]:
    """Accuracy by what is behind the overlay, of each class of overlays and of all; the chosen classes with the bias of
    each model (table 4 of paper 001); accuracy by pair of target class and background class; and the overlays, with
    how sure each model is of them when they are alone."""
    backgrounds = [_background(trial, one) for one in trial.backgrounds]
    overlays = [
        {
            "target_class": trial.classes[target],
            "image": trial.composites.overlays.ids[i],
            **{f"probability_{role}": float(trial.sureness[role][i]) for role in trial.answers},
        }
        for target, chosen in trial.overlays.items()
        for i in chosen
    ]
    return {
        "accuracy": Table.of(
            [_accuracy(trial, target, shown) for target in (None, *trial.overlays) for shown in SHOWN]
        ),
        "classes": Table.of([_class(trial, one) for one in trial.backgrounds], folded=len(backgrounds) > OPEN),
        "backgrounds": Table.of(backgrounds, folded=len(backgrounds) > OPEN),
        "overlays": Table.of(overlays, folded=True),
    }


def _accuracy(trial: Trial, target: int | None, shown: str) -> dict[str, Any]:
    """Of each model on overlays of one class, or of all, with its interval."""
    behind = [one for one in trial.backgrounds if one.group == shown and target in (None, one.target)]
    pasted = [trial.bias("target", one.source, one.target).value for one in behind]
    right, overlay = trial.outcomes("target", shown, target)
    row = {
        "target_class": "all" if target is None else trial.classes[target],
        "background": shown,
        "classes": len(behind),
        "mean_bias": float(np.mean([one.bias for one in behind])) if behind else math.nan,
        "mean_bias_pasted": float(np.mean(pasted)) if behind else math.nan,
        "composites": len(right),
        "overlays": len(np.unique(overlay)),
    }
    for role in trial.answers:
        row |= trial.accuracy(role, target)[shown].columns(f"accuracy_{role}", f"low_{role}", f"high_{role}")
        row[f"effective_{role}"] = effective_size(*trial.outcomes(role, shown, target))
    return row


def _class(trial: Trial, one: Background) -> dict[str, Any]:
    """A chosen class, and how many of its held-out images each model takes for the target class."""
    row = {
        "target_class": trial.classes[one.target],
        "group": one.group,
        "class": one.source,
        "name": trial.names[one.source],
        "images": int(trial.votes["target"][one.source].sum()),
    }
    for role in trial.answers:
        row |= trial.bias(role, one.source, one.target).columns(f"bias_{role}", f"low_{role}", f"high_{role}")
    return row


def _background(trial: Trial, one: Background) -> dict[str, Any]:
    chosen = (trial.label == one.target) & (trial.source == one.source)
    row = {
        "target_class": trial.classes[one.target],
        "background": one.group,
        "class": one.source,
        "name": trial.names[one.source],
        "bias": one.bias,
        "images_bias": int(trial.choosing[one.source]),
        "bias_pasted": trial.bias("target", one.source, one.target).value,
        "images_pasted": int(trial.votes["target"][one.source].sum()),
        "composites": int(chosen.sum()),
    }
    for role in trial.answers:
        found = clustered_share(trial.right(role)[chosen], trial.overlay[chosen])
        row |= found.columns(f"accuracy_{role}", f"low_{role}", f"high_{role}")
    return row


def draw(session: AnalysisSession, found: Findings) -> dict[str, str]:
    """Figure 2 of paper 001, accuracy by what the background is taken for, with intervals; {file: caption}."""
    trial, x = found.trial, np.arange(len(PLACES))
    with session.picture("accuracy", 6.4, 3.8) as (_, axes):
        for place, role in enumerate(trial.answers):
            accuracy, shift = trial.accuracy(role), 0.16 * (place - (len(trial.answers) - 1) / 2)
            shares = [accuracy[shown] for shown in PLACES]
            dots(axes, x + shift, shares, colour=COLOURS[place], label=NAMES[role], marker=MARKERS[role], scale=100)
        axes.set_xticks(x, list(PLACES.values()))
        axes.set_xlim(-0.5, len(PLACES) - 0.5)
        axes.set_ylim(0, 104)
        axes.axhline(100 / len(trial.classes), color=SOFT, linestyle=":", linewidth=1, label="chance")
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel("what the background alone is taken for by the fine-tuned model")
        axes.legend(loc="lower left")
    return {
        "accuracy.svg": "Accuracy on target images pasted on source images, by whether the fine-tuned model takes the "
        "background alone for the pasted object's class, for no class in particular, or for another; at the right the "
        "same objects on one colour. Bars: 95 % intervals over background classes and overlays."
    }

"""Accuracies of the trial by background, and the tables of the analyzer `confusion`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transferkit.report import Table
from transferkit_confusion.clustered import Share, clustered_wilson
from transferkit_confusion.picks import GROUPS, Background
from transferkit_confusion.trial import Trial

OPEN = 20  # longer tables are shown closed


def right(trial: Trial, role: str) -> NDArray[np.float64]:
    """(n,) 1 where the model called the composite by its overlay's class."""
    return np.asarray(trial.answers[role] == trial.label, dtype=np.float64)


def shares(trial: Trial, role: str, target: int | None = None) -> dict[str, Share]:
    """Accuracy by the background's group, and on one colour; of the overlays of one class, or of all."""
    own = np.ones(len(trial.label), dtype=bool) if target is None else trial.label == target
    correct = right(trial, role)
    found = {}
    for group in GROUPS:
        chosen = own & (trial.group == group)
        found[group] = clustered_wilson(correct[chosen], trial.overlay[chosen])
    plain = own[trial.plain]
    on_colour = (trial.plain_answers[role] == trial.label[trial.plain])[plain]
    return found | {"colour": clustered_wilson(on_colour, trial.overlay[trial.plain][plain])}


def accuracy_table(trial: Trial) -> Table:
    """One row per class of overlays and group, and over all classes: accuracy of each model with its interval."""
    columns = ["target_class", "background", "classes", "mean_bias", "mean_bias_pasted", "composites", "overlays"]
    for role in trial.answers:
        columns += [f"accuracy_{role}", f"low_{role}", f"high_{role}", f"effective_{role}"]
    rows = []
    for target in (None, *trial.overlays):
        each = {role: shares(trial, role, target) for role in trial.answers}
        for group in (*GROUPS, "colour"):
            behind = [b for b in trial.backgrounds if b.group == group and target in (None, b.target)]
            one = each["target"][group]
            means = [_mean([b.bias for b in behind]), mean_pasted(trial, behind)]
            row = ["all" if target is None else trial.classes[target], group, len(behind), *means, one.n, one.clusters]
            for role in trial.answers:
                share = each[role][group]
                row += [share.value, share.low, share.high, share.effective]
            rows.append(row)
    return Table(columns, rows)


def mean_pasted(trial: Trial, backgrounds: Sequence[Background]) -> float:
    """The mean bias of the images that were pasted on; NaN without backgrounds."""
    return _mean([float(trial.bias_pasted[b.source, b.target]) for b in backgrounds])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def background_table(trial: Trial) -> Table:
    """One row per pair of target class and background class."""
    columns = ["target_class", "background", "class", "name", "bias", "images_bias"]
    columns += ["bias_pasted", "images_pasted", "composites"]
    for role in trial.answers:
        columns += [f"accuracy_{role}", f"low_{role}", f"high_{role}"]
    rows = []
    for one in trial.backgrounds:
        chosen = (trial.label == one.target) & (trial.source == one.source)
        row = [trial.classes[one.target], one.group, one.source, trial.names[one.source], one.bias]
        measured, pasted = trial.images[one.source]
        row += [measured, float(trial.bias_pasted[one.source, one.target]), pasted, int(chosen.sum())]
        for role in trial.answers:
            share = clustered_wilson(right(trial, role)[chosen], trial.overlay[chosen])
            row += [share.value, share.low, share.high]
        rows.append(row)
    return Table(columns, rows, folded=len(rows) > OPEN)


def overlay_table(trial: Trial) -> Table:
    """One row per pasted image: how sure each model is of it when it is alone."""
    ids = trial.composites.overlays.ids
    rows = [
        [trial.classes[target], ids[i], *(float(trial.sureness[role][i]) for role in trial.answers)]
        for target, chosen in trial.overlays.items()
        for i in chosen
    ]
    return Table(["target_class", "image", *(f"probability_{role}" for role in trial.answers)], rows, folded=True)

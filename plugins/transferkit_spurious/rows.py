"""What the models make of changed rows: interventions by block, the restored columns, and LIME."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.analysis import AnalysisSession, Bar
from transferkit.data import TableSamples, as_images
from transferkit.errors import InputError
from transferkit.model import TransferModel
from transferkit.statistics import Estimate
from transferkit_spurious.findings import Effect, Findings, Lime, Subject, against_baseline, average
from transferkit_spurious.interventions import Numbers, intervene
from transferkit_spurious.local import Predict, lime_with_floor
from transferkit_spurious.options import INTERVENTIONS, Options

CHUNK = 8192
UNKNOWN = Estimate(math.nan)


@dataclass(frozen=True)
class Material:
    """What all models are given, and how it is changed."""

    session: AnalysisSession
    options: Options
    samples: TableSamples
    used: NDArray[np.int64]
    """Which rows of the samples: all, or so many drawn once."""
    rows: Numbers
    """(n, d) of these."""
    outputs: Numbers
    """(n,) of these."""
    mean: Numbers
    sd: Numbers
    """(d,) of the training rows."""


def measure_rows(session: AnalysisSession, options: Options, models: list[Subject]) -> Findings:
    """All probes of all models. Raises InputError for blocks and restored columns that do not fit the table."""
    split = session.overlay_split()
    samples, train = _table(session, "target", split), _table(session, "target", "train").rows
    columns = samples.rows.shape[1]
    for name, (first, end) in options.blocks.items():
        if not first < end <= columns:
            raise InputError(f"spurious: the block {name} is [{first}, {end}), but the columns are 0 to {columns - 1}")
    if options.suspect not in options.blocks:
        raise InputError(f'spurious: suspect "{options.suspect}" is none of the blocks {", ".join(options.blocks)}')
    used = np.arange(len(samples))
    if len(samples) > options.rows:
        used = np.sort(session.rng("spurious", "rows").permutation(len(samples))[: options.rows])
    rows, outputs = samples.rows[used], samples.labels[used].astype(np.float64)
    given = Material(session, options, samples, used, rows, outputs, train.mean(axis=0), train.std(axis=0))
    found, impact, floor = Findings(models, len(used), split), {}, {}
    moved: dict[tuple[str, str], Numbers] = {}
    work = len(models) * (len(options.blocks) * len(INTERVENTIONS) + options.instances)
    with session.progress(work, "spurious: changed rows") as bar:
        for subject in models:
            predict = partial(_answers, session, subject.model)
            moved |= _interventions(given, subject, predict, found, bar)
            if subject.role != "source" and options.restored is not None:
                found.restored[subject.name] = _restored(given, options.restored, predict)
            if options.instances:
                impact[subject.name], floor[subject.name] = _impact(given, predict, bar)
    found.excess = against_baseline(models, moved)
    found.lime = _lime(options, models, impact, floor) if impact else None
    return found


def _table(session: AnalysisSession, data: str, split: str) -> TableSamples:
    """The rows of a split. Raises InputError for images."""
    samples = session.samples(data, split)
    if not isinstance(samples, TableSamples):
        raise InputError(f'"{samples.name}" holds images, but the model learnt a table')
    return samples


@torch.no_grad()
def _answers(session: AnalysisSession, model: TransferModel, rows: Numbers) -> Numbers:
    """(m, d) rows -> (m,) float64."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        images = as_images(rows[start : start + CHUNK].astype(np.float32)).to(session.device)
        parts.append(model(images).logits[:, 0].double().cpu())
    answers: Numbers = torch.cat(parts).numpy()
    return answers


def _interventions(
    given: Material, subject: Subject, predict: Predict, found: Findings, bar: Bar
) -> dict[tuple[str, str], Numbers]:
    """Every intervention on every block for one model, into `found`; {(model, intervention): (n,) moves of the answer}
    of the suspect block."""
    x, y, found.own_rows[subject.name] = _rows_for(given, subject)
    answers, moved = predict(x), {}
    errors = None if y is None else (answers - y) ** 2
    found.loss[subject.name] = UNKNOWN if errors is None else average(errors).within(0)
    output = answers if y is None else y
    for block, (first, end) in given.options.blocks.items():
        for how in INTERVENTIONS:
            rng = given.session.rng("spurious", how, block)  # the same for all models: differences are paired
            changed = intervene(x, range(first, end), how, mean=given.mean, sd=given.sd, output=output, rng=rng)
            after = predict(changed)
            shift = np.abs(after - answers)
            change = UNKNOWN if y is None or errors is None else average((after - y) ** 2 - errors)
            found.effects[subject.name, block, how] = Effect(change, average(shift).within(0))
            if block == given.options.suspect:
                moved[subject.name, how] = shift
            bar.advance(1)
    return moved


def _rows_for(given: Material, subject: Subject) -> tuple[Numbers, Numbers | None, str]:
    """Rows, outputs where they are of the model's own task, and whose they are.

    The source model gets rows of its own task where the analysis has them, as many as the others; the outputs of the
    target say nothing about it.
    """
    rows, name = given.rows, given.samples.name
    if subject.role != "source":
        return rows, given.outputs, name
    if given.session.has_data("source"):
        own, count = given.session.samples("source", role="source"), len(rows)
        if isinstance(own, TableSamples) and own.rows.shape[1] == rows.shape[1] and len(own) >= count:
            return own.rows[:count], own.labels[:count].astype(np.float64), own.name
    return rows, None, name


def _restored(given: Material, restored: str, predict: Predict) -> tuple[Estimate, Estimate]:
    """Loss on the restored rows and its change. Raises InputError when they are not the same rows."""
    samples = given.samples
    other = _table(given.session, restored, samples.split)
    if other.ids != samples.ids or not np.array_equal(other.labels, samples.labels):
        raise InputError(
            f'spurious: restored "{restored}" must hold the rows of "{samples.name}" with the same outputs'
        )
    before, after = ((predict(rows) - given.outputs) ** 2 for rows in (given.rows, other.rows[given.used]))
    return average(after).within(0), average(after - before)


def _impact(given: Material, predict: Predict, bar: Bar) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(instances, d) each: |coefficient x s.d.| around each of the first rows and its noise floor.

    Every model is given the same noise.
    """
    impact, floor = [], []
    for number, row in enumerate(given.rows[: given.options.instances]):
        rng = given.session.rng("spurious", "lime", number)
        slopes, noise = lime_with_floor(predict, row, given.sd, given.options.samples, rng)
        impact.append(np.abs(slopes * given.sd))
        floor.append(noise * given.sd)
        bar.advance(1)
    return np.stack(impact), np.stack(floor)


def _lime(
    options: Options,
    models: list[Subject],
    impact: dict[str, NDArray[np.float64]],
    floor: dict[str, NDArray[np.float64]],
) -> Lime:
    """Means by block, what noise alone would make of them, and differences to the baseline over the same rows."""
    blocks = {
        (name, block): values[:, slice(*columns)]
        for name, values in impact.items()
        for block, columns in options.blocks.items()
    }
    noise = {(name, block): floor[name][:, slice(*options.blocks[block])] for name, block in blocks}
    return Lime(
        impact=impact,
        by_block={key: average(values.mean(axis=1)).within(0) for key, values in blocks.items()},
        floor={key: average(values.mean(axis=1)).within(0) for key, values in noise.items()},
        beyond={key: average((values - noise[key]).mean(axis=1)) for key, values in blocks.items()},
        excess=against_baseline(models, {key: values for key, values in blocks.items() if key[1] == options.suspect}),
    )

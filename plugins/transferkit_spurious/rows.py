"""What the models make of changed rows: interventions by block, the restored columns, and LIME."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.data.tables import TableSamples, as_images
from transferkit.errors import InputError
from transferkit_spurious.analyzer import INTERVENTIONS
from transferkit_spurious.intervals import NONE, Interval, Resampled
from transferkit_spurious.interventions import intervene
from transferkit_spurious.local import Predict, lime
from transferkit_spurious.models import Subject

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_spurious.analyzer import Spurious

Numbers = NDArray[np.floating[Any]]
CHUNK = 8192


@dataclass(frozen=True)
class Effect:
    """One intervention on one block, seen by one model: means over rows."""

    model: str
    block: str
    how: str
    change: Interval
    """Of the squared error; NaN where the rows are not of the model's own task."""
    moved: Interval
    """|changed answer - answer|."""


@dataclass
class Table:
    """Everything measured on a table."""

    rows: int
    own_rows: dict[str, str] = field(default_factory=dict)
    """{model: whose rows it was given}."""
    loss: dict[str, Interval] = field(default_factory=dict)
    restored: dict[str, tuple[Interval, Interval]] = field(default_factory=dict)
    """{model: (loss, change of the loss)} with the restored columns."""
    effects: list[Effect] = field(default_factory=list)
    excess: dict[tuple[str, str], Interval] = field(default_factory=dict)
    """{(model, intervention on the suspect block): its `moved` minus the baseline's}."""
    impact: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """{model: (instances, d) |LIME coefficient x s.d. of the column|}."""
    impact_by_block: dict[tuple[str, str], Interval] = field(default_factory=dict)
    impact_excess: dict[str, Interval] = field(default_factory=dict)

    def effect(self, model: str, block: str, how: str) -> Effect | None:
        """The effect of that name, if it was measured."""
        same = (one for one in self.effects if (one.model, one.block, one.how) == (model, block, how))
        return next(same, None)


@dataclass(frozen=True)
class Material:
    """The rows that all models are given, and how they are changed."""

    samples: TableSamples
    used: NDArray[np.int64]
    mean: Numbers
    sd: Numbers
    """(d,) of the training rows."""
    boot: Resampled

    @property
    def rows(self) -> Numbers:
        """(n, d) the target's."""
        return self.samples.rows[self.used]

    @property
    def outputs(self) -> Numbers:
        """(n,) of the target's rows."""
        return self.samples.labels[self.used].astype(np.float64)


def measure(session: AnalysisSession, options: Spurious, subjects: list[Subject]) -> Table:
    """All probes of all models."""
    samples = table_of(session, "target", session.overlay_split())
    check_blocks(options, samples.rows.shape[1])
    used = rows_of(session, options, samples)
    train = table_of(session, "target", "train").rows
    boot = Resampled(len(used), options.bootstrap, session.rng("spurious", "bootstrap"))
    material = Material(samples, used, train.mean(axis=0), train.std(axis=0), boot)
    found = Table(len(used))
    moved: dict[tuple[str, str], Numbers] = {}
    work = len(subjects) * (len(options.blocks) * len(INTERVENTIONS) + options.instances)
    with session.progress(work, "spurious: changed rows") as bar:
        for subject in subjects:
            predict = predictor(session, subject)
            _interventions(session, options, subject, predict, material, found, moved, bar.advance)
            if subject.role != "source" and options.restored is not None:
                found.restored[subject.name] = _restored(session, options, material, predict)
            if options.instances:
                found.impact[subject.name] = _impact(session, options, predict, material, bar.advance)
    _compare(session, options, subjects, found, moved, boot)
    return found


def _interventions(
    session: AnalysisSession,
    options: Spurious,
    subject: Subject,
    predict: Predict,
    material: Material,
    found: Table,
    moved: dict[tuple[str, str], Numbers],
    advance: Callable[[int], None],
) -> None:
    """Every intervention on every block for one model, into `found`; rows of the suspect block also into `moved`."""
    x, y, found.own_rows[subject.name] = _given(session, subject, material)
    answers = predict(x)
    errors = None if y is None else (answers - y) ** 2
    found.loss[subject.name] = NONE if errors is None else material.boot.mean(errors)
    for block, (first, end) in options.blocks.items():
        for how in INTERVENTIONS:
            rng = session.rng("spurious", how, block)  # the same for all models: differences are paired
            output = answers if y is None else y
            changed = intervene(x, range(first, end), how, mean=material.mean, sd=material.sd, output=output, rng=rng)
            after = predict(changed)
            shift = np.abs(after - answers)
            change = NONE if y is None or errors is None else material.boot.mean((after - y) ** 2 - errors)
            found.effects.append(Effect(subject.name, block, how, change, material.boot.mean(shift)))
            if block == options.suspect:
                moved[subject.name, how] = shift
            advance(1)


def table_of(session: AnalysisSession, data: str, split: str) -> TableSamples:
    """The rows of a split. Raises InputError for images."""
    samples = session.samples(data, split)
    if not isinstance(samples, TableSamples):
        raise InputError(f'"{samples.name}" holds images, but the model learnt a table')
    return samples


def check_blocks(options: Spurious, columns: int) -> None:
    """Raises InputError for blocks that are not there, and for a suspect that is no block."""
    for name, (first, end) in options.blocks.items():
        if not first < end <= columns:
            raise InputError(f"spurious: the block {name} is [{first}, {end}), but the columns are 0 to {columns - 1}")
    if options.suspect not in options.blocks:
        raise InputError(f'spurious: suspect "{options.suspect}" is none of the blocks {", ".join(options.blocks)}')


def rows_of(session: AnalysisSession, options: Spurious, samples: TableSamples) -> NDArray[np.int64]:
    """Which rows are used: all, or so many drawn once."""
    if len(samples) <= options.rows:
        return np.arange(len(samples))
    return np.sort(session.rng("spurious", "rows").permutation(len(samples))[: options.rows])


def predictor(session: AnalysisSession, subject: Subject) -> Predict:
    """(m, d) rows -> (m,) answers of a model, float64."""
    import torch

    def predict(rows: Numbers) -> Numbers:
        parts = []
        with torch.no_grad():
            for start in range(0, len(rows), CHUNK):
                images = as_images(rows[start : start + CHUNK].astype(np.float32)).to(session.device)
                parts.append(subject.model(images).logits[:, 0].double().cpu())
        answers: Numbers = torch.cat(parts).numpy()
        return answers

    return predict


def _given(session: AnalysisSession, subject: Subject, material: Material) -> tuple[Numbers, Numbers | None, str]:
    """Rows, outputs where they are of the model's own task, and whose they are.

    The source model gets rows of its own task where the analysis has them, as many as the others; the outputs of the
    target say nothing about it.
    """
    rows, name = material.rows, material.samples.name
    if subject.role != "source":
        return rows, material.outputs, name
    if session.has_data("source"):
        own, count = session.samples("source", role="source"), len(rows)
        if isinstance(own, TableSamples) and own.rows.shape[1] == rows.shape[1] and len(own) >= count:
            return own.rows[:count], own.labels[:count].astype(np.float64), own.name
    return rows, None, name


def _restored(
    session: AnalysisSession, options: Spurious, material: Material, predict: Predict
) -> tuple[Interval, Interval]:
    """Loss on the restored rows and its change. Raises InputError when they are not the same rows."""
    samples = material.samples
    other = table_of(session, str(options.restored), samples.split)
    if other.ids != samples.ids or not np.array_equal(other.labels, samples.labels):
        raise InputError(
            f'spurious: restored "{options.restored}" must hold the rows of "{samples.name}" with the same outputs'
        )
    before, after = ((predict(rows) - material.outputs) ** 2 for rows in (material.rows, other.rows[material.used]))
    return material.boot.mean(after), material.boot.mean(after - before)


def _impact(
    session: AnalysisSession,
    options: Spurious,
    predict: Predict,
    material: Material,
    advance: Callable[[int], None],
) -> NDArray[np.float64]:
    """(instances, d): |coefficient x s.d.| around each of the first rows, with the same noise for every model."""
    found = []
    for number, row in enumerate(material.rows[: options.instances]):
        rng = session.rng("spurious", "lime", number)
        found.append(np.abs(lime(predict, row, material.sd, options.samples, rng) * material.sd))
        advance(1)
    return np.stack(found)


def _compare(
    session: AnalysisSession,
    options: Spurious,
    subjects: list[Subject],
    found: Table,
    moved: dict[tuple[str, str], Numbers],
    boot: Resampled,
) -> None:
    """Blocks of LIME's columns, and differences to the baseline over the same rows."""
    baseline = next((one.name for one in subjects if one.role == "baseline"), None)
    first, end = options.blocks[options.suspect]
    instances = len(next(iter(found.impact.values()))) if found.impact else 0
    explained = Resampled(max(instances, 1), options.bootstrap, session.rng("spurious", "bootstrap", "lime"))
    for name, impact in found.impact.items():
        for block, (start, stop) in options.blocks.items():
            found.impact_by_block[name, block] = explained.mean(impact[:, start:stop].mean(axis=1))
    for subject in subjects:
        if baseline is None or subject.role in ("source", "baseline"):
            continue
        for how in INTERVENTIONS:
            found.excess[subject.name, how] = boot.mean(moved[subject.name, how] - moved[baseline, how])
        if found.impact:
            gap = found.impact[subject.name] - found.impact[baseline]
            found.impact_excess[subject.name] = explained.mean(gap[:, first:end].mean(axis=1))

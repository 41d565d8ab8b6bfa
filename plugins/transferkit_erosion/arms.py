"""The answers of every model of the experiment on every test set, and how its training went."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transferkit.data import labelled_classes, lineage
from transferkit.errors import InputError, did_you_mean
from transferkit.model import rows_of
from transferkit.report import attempt
from transferkit.statistics import Estimate, share

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.data import CorruptionUse
    from transferkit.model import TransferModel
    from transferkit_erosion.options import Options

BEFORE, AFTER = "before", "after"
SETS = ("matching", "conflict", "alone")


@dataclass(frozen=True)
class Answers:
    """One model's answers on one test set: (n,) predicted and true classes."""

    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) which are right."""
        return np.asarray(self.predicted == self.labels)

    @property
    def accuracy(self) -> Estimate:
        """The share of right answers, with its interval over classes."""
        return share(self.right, self.labels)


@dataclass(frozen=True)
class Shift:
    """Whose mark the conflicting images bear: that of class (y + by) mod K."""

    by: int
    marked: NDArray[np.bool_]
    """(n,) which of the images bear it."""


@dataclass(frozen=True)
class Arms:
    """{arm: {test set: answers}}; the arms are `before`, `after` and the names of stages."""

    answers: dict[str, dict[str, Answers]]
    classes: list[str]
    """Of the clean data set."""
    shift: Shift | None
    gaps: list[str] = field(default_factory=list)
    marked: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """{test set: (n,) which images bear the mark}; absent where that is not known, or all do."""
    learners: dict[str, Answers] = field(default_factory=dict)
    """{stage that learns the clean task: its answers on it}, where its last weights were kept."""

    def on(self, arm: str, test: str) -> Answers | None:
        """An arm's answers on a test set, if there are any."""
        return self.answers.get(arm, {}).get(test)

    def on_marked(self, arm: str, test: str, among: str) -> Answers | None:
        """An arm's answers on a test set, of the images that bear the mark in `among`; None without any."""
        found = self.on(arm, test)
        if found is not None and among in self.marked:
            found = Answers(found.predicted[self.marked[among]], found.labels[self.marked[among]])
        return found if found is not None and len(found.labels) else None


def answer_all(session: AnalysisSession, options: Options) -> Arms:
    """Every model over every test set. Raises InputError outside a recipe, where there are no stages to compare."""
    if session.recipe is None:
        raise InputError("erosion compares the stages of a recipe; an audit of single models has none")
    gaps: list[str] = []
    tests = _tests(session, options, gaps)
    answers: dict[str, dict[str, Answers]] = {}
    for arm in [BEFORE, AFTER, *_stages(session, options)]:
        model = attempt(gaps, f"{arm} was left out", partial(_model, session, arm))
        if model is None:
            continue
        tried = {
            test: attempt(gaps, f"{arm} was not tried on {data}", partial(_answers, session, arm, model, data))
            for test, data in tests.items()
        }
        if found := {test: given for test, given in tried.items() if given is not None}:
            answers[arm] = found
    if not any(name in answers for name in (BEFORE, AFTER)):
        raise InputError("erosion: nothing could be measured. " + " ".join(gaps))
    tests = {test: data for test, data in tests.items() if any(test in found for found in answers.values())}
    shift = _shift(session, tests.get("conflict"), gaps)
    classes = list(session.samples(options.clean).classes)
    return Arms(answers, classes, shift, gaps, _marked(session, tests), _learners(session, options, gaps))


def _tests(session: AnalysisSession, options: Options, gaps: list[str]) -> dict[str, str]:
    """{test set: data set}. Raises InputError when there is no clean one; without another, only that is missing."""
    tests = {"clean": _known(session, options.clean, "clean: ")}
    for name in SETS:
        data = getattr(options, name)
        if data is not None and attempt(gaps, name, partial(_known, session, data)) is not None:
            tests[name] = data
    if session.samples(options.clean).split == "train":
        gaps.append(f"{options.clean} has neither a val nor a test split: its accuracies are of training images.")
    return tests


def _known(session: AnalysisSession, data: str, what: str = "") -> str:
    """The same name. Raises InputError, which begins with `what`, where the recipe has no data set of that name."""
    assert session.recipe is not None
    if data not in session.recipe.datasets:
        hint = did_you_mean(data, session.recipe.datasets)
        raise InputError(f'{what}the recipe has no data set called "{data}"; {hint}')
    return data


def _marked(session: AnalysisSession, tests: dict[str, str]) -> dict[str, NDArray[np.bool_]]:
    """Which images of `matching` and `alone` bear a mark that `clean` does not have, where they are the same images."""
    if "clean" not in tests:
        return {}
    clean = session.samples(tests["clean"])
    found: dict[str, NDArray[np.bool_]] = {}
    for test in (name for name in ("matching", "alone") if name in tests):
        samples = session.samples(tests[test])
        masks = [mask for name, mask in samples.planted.items() if name not in clean.planted]
        if masks and samples.ids == clean.ids:
            found[test] = np.logical_or.reduce(masks)
    return found


def _stages(session: AnalysisSession, options: Options) -> list[str]:
    """The further stages that are arms. Raises InputError for names that would be taken for others."""
    names = list(dict.fromkeys(name for name in (options.control, *options.sweep) if name))
    for name in (*names, options.relearn, options.scratch, options.warm):
        if name in (BEFORE, AFTER):
            raise InputError(f'the report has a row called "{name}" already; call the stage "{name}" something else')
    if options.control == session.stage_name:
        raise InputError(f"{options.control} cannot be its own control; name a stage with its schedule on clean data")
    return [name for name in names if name != session.stage_name]


def _learners(session: AnalysisSession, options: Options, gaps: list[str]) -> dict[str, Answers]:
    """How sure a gap at the end of two curves is, the images say that the last weights were asked of."""
    assert session.recipe is not None
    last = [stage.name for stage in session.recipe.stages if stage.keep == "last"]
    named = [name for name in (options.relearn, options.scratch, options.warm) if name in last]
    found = {}
    for name in filter(None, named):
        model = attempt(gaps, f"{name} was left out", partial(_model, session, name))
        what = f"{name} was not tried on {options.clean}"
        if model is not None and (given := attempt(gaps, what, partial(_answers, session, name, model, options.clean))):
            found[name] = given
    return found


def _model(session: AnalysisSession, arm: str) -> str | TransferModel:
    """What `session.predictions` takes. Raises InputError where there is no such model, or not for these inputs."""
    if arm == AFTER:
        return "target"
    if arm == BEFORE:
        if not session.has("source"):
            raise InputError("the stage starts from scratch, so there is no model before it and nothing to forget")
        return "source"
    model = session.stage_model(arm)
    if model.preprocessing != session.model("target").preprocessing:
        raise InputError(f"its model takes other inputs than that of {session.stage_name}; compare like with like")
    return model


def _answers(session: AnalysisSession, arm: str, model: str | TransferModel, data: str) -> Answers:
    assert session.recipe is not None
    given = session.predictions(model, data)
    head = session.source_head() if arm == BEFORE else given.head
    try:
        rows = rows_of(head, given.classes, labelled_classes(data, session.recipe.datasets))
    except InputError:
        raise InputError(
            f"its classifier has {len(head.classes)} classes, and those of {data} are not among them"
        ) from None
    return Answers(given.predicted(rows).numpy(), given.labels.numpy())


def _shift(session: AnalysisSession, conflict: str | None, gaps: list[str]) -> Shift | None:
    """By how many classes the marks of the conflicting data set are off, as its corruptions say."""
    if conflict is None:
        return None
    samples = session.samples(conflict)
    planted = zip(corruptions_of(session, conflict, samples.split), samples.planted.values(), strict=True)
    shifts = [Shift(int(use.options["shift"]), marked) for use, marked in planted if use.options.get("shift")]
    if shifts and shifts[-1].by % len(samples.classes):
        return shifts[-1]
    text = f"Nothing planted in {conflict} says by its option shift which other class's mark an image bears"
    gaps.append(f"{text}: no shortcut_reliance.")
    return None


def corruptions_of(session: AnalysisSession, data: str, split: str) -> list[CorruptionUse]:
    """Everything planted in a split of a data set, what its parents plant first."""
    assert session.recipe is not None
    datasets = session.recipe.datasets
    planted = [use for one in reversed(lineage(data, datasets)) for use in datasets[one].corruptions]
    return [use for use in planted if split in use.splits]


@dataclass(frozen=True)
class Point:
    """An accuracy on the clean data set in the course of a stage."""

    step: int
    epoch: int
    accuracy: float
    early: bool
    """Within an epoch, on a part of the images."""


def curve(session: AnalysisSession, stage: str, clean: str) -> list[Point]:
    """A stage's accuracy on the clean data set, by step; its validation split where it trains on clean images."""
    assert session.recipe is not None
    records = session.history(stage)
    name = clean
    if not any(record["split"] == clean for record in records) and session.recipe.stage(stage).dataset == clean:
        name = "val"
    return [
        Point(int(record["step"]), int(record["epoch"]), float(record["top1"]), "terms" not in record)
        for record in records
        if record["split"] == name and record.get("top1") is not None
    ]


def ends(points: list[Point]) -> list[Point]:
    """Those at the ends of epochs."""
    return [point for point in points if not point.early and point.epoch >= 0]

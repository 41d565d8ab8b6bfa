"""The answers of every model of the experiment on every test set, and how its training went."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis.run_folder import wilson
from transferkit.data.sources import labelled_classes
from transferkit.errors import InputError
from transferkit.head_init import rows_of
from transferkit.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.model import TransferModel
    from transferkit.recipe.schema import CorruptionUse
    from transferkit_erosion.analyzer import Erosion

BEFORE, AFTER = "before", "after"
SETS = ("clean", "matching", "conflict", "alone")


@dataclass(frozen=True)
class Answers:
    """One model's answers on one test set: (n,) predicted and true classes."""

    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) which are right."""
        found: NDArray[np.bool_] = self.predicted == self.labels
        return found

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.accuracy, len(self.labels))


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

    def on(self, arm: str, test: str) -> Answers | None:
        """An arm's answers on a test set, if there are any."""
        return self.answers.get(arm, {}).get(test)

    def on_marked(self, arm: str, test: str, among: str) -> float:
        """An arm's accuracy on a test set, of the images that bear the mark in `among`; NaN without any."""
        found = self.on(arm, test)
        if found is None:
            return math.nan
        right = found.right[self.marked[among]] if among in self.marked else found.right
        return float(right.mean()) if right.size else math.nan


def remark(gaps: list[str], text: str) -> None:
    """Say it once, with the hints of errors on the same line."""
    line = " ".join(text.split())
    if line not in gaps:
        gaps.append(line)


def answer_all(session: AnalysisSession, options: Erosion) -> Arms:
    """Every model over every test set. Raises InputError outside a recipe, where there are no stages to compare."""
    if session.recipe is None:
        raise InputError("erosion compares the stages of a recipe; an audit of single models has none")
    gaps: list[str] = []
    tests = _tests(session, options, gaps)
    answers: dict[str, dict[str, Answers]] = {}
    for arm in [BEFORE, AFTER, *_stages(session, options)]:
        try:
            model = _model(session, arm)
        except InputError as error:
            remark(gaps, f"{arm} was left out: {error}.")
            continue
        found = {}
        for test, data in tests.items():
            try:
                found[test] = _answers(session, arm, model, data)
            except InputError as error:
                remark(gaps, f"{arm} was not tried on {data}: {error}.")
        if found:
            answers[arm] = found
    if not any(name in answers for name in (BEFORE, AFTER)):
        raise InputError("erosion: nothing could be measured. " + " ".join(gaps))
    tests = {test: data for test, data in tests.items() if any(test in found for found in answers.values())}
    shift = _shift(session, tests.get("conflict"), gaps)
    return Arms(answers, list(session.samples(options.clean).classes), shift, gaps, _marked(session, tests))


def _tests(session: AnalysisSession, options: Erosion, gaps: list[str]) -> dict[str, str]:
    """{test set: data set}. Raises InputError when there is no clean one; without another, only that is missing."""
    assert session.recipe is not None
    tests = {}
    for name in SETS:
        data = getattr(options, name)
        if data is None:
            continue
        if data in session.recipe.datasets:
            tests[name] = data
            continue
        text = f'{name}: the recipe has no data set called "{data}"; {did_you_mean(data, session.recipe.datasets)}'
        if name == "clean":
            raise InputError(text)
        remark(gaps, f"{text}.")
    split = session.samples(options.clean).split
    if split == "train":
        remark(gaps, f"{options.clean} has neither a val nor a test split: its accuracies are of training images.")
    return tests


def _marked(session: AnalysisSession, tests: dict[str, str]) -> dict[str, NDArray[np.bool_]]:
    """Which images of `matching` and `alone` bear a mark that `clean` does not have, where they are the same images."""
    if "clean" not in tests:
        return {}
    clean = session.samples(tests["clean"])
    found: dict[str, NDArray[np.bool_]] = {}
    for test in ("matching", "alone"):
        if test not in tests:
            continue
        samples = session.samples(tests[test])
        masks = [mask for name, mask in samples.planted.items() if name not in clean.planted]
        if masks and samples.ids == clean.ids:
            found[test] = np.logical_or.reduce(masks)
    return found


def _stages(session: AnalysisSession, options: Erosion) -> list[str]:
    """The further stages that are arms. Raises InputError for names that would be taken for others."""
    names = list(dict.fromkeys(name for name in (options.control, *options.sweep) if name))
    for name in (*names, options.relearn, options.scratch, options.warm):
        if name in (BEFORE, AFTER):
            raise InputError(f'the report has a row called "{name}" already; call the stage "{name}" something else')
    if options.control == session.stage_name:
        raise InputError(f"{options.control} cannot be its own control; name a stage with its schedule on clean data")
    return [name for name in names if name != session.stage_name]


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
    remark(gaps, f"{text}: no shortcut_reliance.")
    return None


def corruptions_of(session: AnalysisSession, data: str, split: str) -> list[CorruptionUse]:
    """Everything planted in a split of a data set, what its parents plant first."""
    found: list[CorruptionUse] = []
    name: str | None = data
    while session.recipe is not None and name is not None:
        spec = session.recipe.datasets[name]
        found = [use for use in spec.corruptions if split in use.splits] + found
        name = spec.from_
    return found

"""Task interpolation (paper 004): train on tasks between the source's and the target's, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from transferkit.data import DatasetName
from transferkit_task_interpolation.lams import BAND, Pace, Plan, schedule, target_counts

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import Combined, Partner, Session, Stage, Stream, Workspace
    from transferkit.data import Samples
    from transferkit.model import SourceHead

HEADS: dict[str, Literal["own", "target", "joint"]] = {"separate": "own", "shared": "target", "concat": "joint"}


@dataclass(frozen=True)
class _Clock:
    """How the stage counts: forward passes per epoch and per optimizer step, optimizer steps in all."""

    passes: int
    accumulate: int
    total_steps: int
    images: int  # of the target's training set
    batch_size: int

    def progress(self, forward_pass: int) -> float:
        """The share of the optimizer steps that are over before this forward pass."""
        epoch, number = divmod(forward_pass, self.passes)
        return (epoch * -(-self.passes // self.accumulate) + number // self.accumulate) / self.total_steps

    def paired(self, forward_pass: int) -> int:
        """Target images in it when every image is of the target: the epoch's last batch has what is left."""
        last = forward_pass % self.passes == self.passes - 1
        return self.images - self.batch_size * (self.passes - 1) if last else self.batch_size


@dataclass
class TaskInterpolation:
    """Go from the source task to the target task: lam, the weight of the target, rises from 0 to 1."""

    source: Annotated[DatasetName, Field(description="the data set of the source task; its train split is used")]
    lams: Annotated[
        list[float], Field(min_length=1, description="weights of the target, one after the other; the last is 1")
    ] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    shape: Annotated[
        Literal["grid", "linear", "cosine"],
        Field(description="grid: equal parts of the stage; linear, cosine: through the same values without jumps"),
    ] = "grid"
    mode: Annotated[
        Literal["mixture", "mixup", "coupled"],
        Field(description="mixture: images of both; mixup: blends of random pairs; coupled: of optimally matched ones"),
    ] = "mixture"
    heads: Annotated[
        Literal["separate", "shared", "concat"],
        Field(description="separate: one per task; shared: the target's, for equal class counts; concat: one softmax"),
    ] = "separate"
    skip_source_stage: Annotated[
        bool, Field(description="leave out lam = 0; the other lams share its part of the stage")
    ] = False
    pace: Annotated[
        Literal["grid", "loss"],
        Field(description="loss: lam moves after each epoch, as far as the training loss allows"),
    ] = "grid"
    band: Annotated[
        float | None,
        Field(gt=0, description=f"pace loss: lam waits while the loss is so far above the first epoch's; {BAND}"),
    ] = None
    beta: Annotated[bool, Field(description="mixup and coupled: blend each step by a draw from Beta(lam, 1 - lam)")] = (
        False
    )
    blocks: Annotated[
        int | None, Field(ge=1, description="coupled: match within so many random parts of both sets, for large ones")
    ] = None
    source_start: Annotated[
        bool, Field(description="the source task's head starts as M^s's where that knows all its classes by name")
    ] = True

    _plan: Plan = field(init=False, repr=False)
    _clock: _Clock | None = field(init=False, default=None, repr=False)
    _pace: Pace | None = field(init=False, default=None, repr=False)
    _rng: Callable[..., Any] | None = field(init=False, default=None, repr=False)
    _seen: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lams = [float(lam) for lam in self.lams]
        ascending = all(low < high for low, high in zip(self.lams, self.lams[1:], strict=False))
        if not self.lams or not ascending or self.lams[0] < 0 or self.lams[-1] != 1:
            raise ValueError(f"lams must ascend from 0 or more to exactly 1, as in [0, 0.5, 1]; these are {self.lams}")
        self._plan = Plan(self._grid, self.shape)
        self._seen = {"target_images": 0, "source_images": 0}

    @property
    def _grid(self) -> tuple[float, ...]:
        return tuple(lam for lam in self.lams if lam > 0 or not self.skip_source_stage)

    def check(self, stage: Stage) -> list[str]:
        """Options that contradict each other or the stage."""
        return [*_among_options(self, len(self._grid)), *_with_stage(self, stage, len(self._grid))]

    def streams(self, session: Workspace) -> Mapping[str, Stream]:
        """The source task's images; in the paired modes with the rule that gives each target image its partner."""
        from transferkit import Stream

        source = session.open_samples(self.source, "train")
        self._rng = partial(session.rng, "task_interpolation")
        classes, ours = len(source.classes), len(session.classes)
        if self.heads == "shared" and classes != ours:
            from transferkit.errors import InputError

            raise InputError(
                f'task_interpolation: heads: shared needs equal numbers of classes, but "{self.source}" has {classes} '
                f"and the target {ours}; use heads: separate or concat"
            )
        initial = self._initial(session, source) if self.heads != "shared" else None
        return {"source": Stream(source, HEADS[self.heads], partner=self._partner(session, source), initial=initial)}

    def _initial(self, session: Workspace, source: Samples) -> SourceHead | None:
        """The rows of M^s's head for the source task's classes, by name."""
        head = session.source_head
        if not self.source_start or head is None:
            return None
        if not set(source.classes) <= set(head.classes):
            session.warn(
                f'task_interpolation: the head of the model that the stage starts from does not know all classes of "'
                f'{self.source}" by name; the source task gets a new head (source_start: false says that this is meant)'
            )
            return None
        from transferkit.model import rows_of

        return rows_of(head, source.classes)

    def _partner(self, session: Workspace, source: Samples) -> Partner | None:
        if self.mode == "mixture" or self._rng is None:
            return None
        from transferkit_task_interpolation.partners import CoupledPartners, RandomPartners

        if self.mode == "mixup":
            return RandomPartners(self._rng, len(session.train_samples), len(source))
        from transferkit_task_interpolation.coupled import coupling_of

        return CoupledPartners(self._rng, coupling_of(session, source, self.blocks))

    def setup(self, session: Session) -> None:
        """Now the stage's length is known."""
        epochs = session.total_epochs
        stage, images = session.stage, len(session.train_samples)
        passes, batch_size = session.passes_per_epoch, stage.batch_size
        self._clock = _Clock(passes, stage.accumulate, session.total_steps, images, batch_size)
        self._plan = Plan(self._grid, self.shape, stage.epochs)
        if self.pace == "loss":
            if epochs < len(self._grid):
                from transferkit.errors import InputError

                raise InputError(
                    f"task_interpolation: pace: loss moves lam after each epoch, and {session.total_steps} steps are "
                    f"{epochs} epochs, fewer than {len(self._grid)} lams; train longer or use pace: grid"
                )
            deadline = schedule(self._grid, epochs)[-1][0]
            self._pace = Pace(self._grid[0], deadline, self.band or BAND)

    def _lam(self, epoch: int, progress: float) -> float:
        return self._pace.at(epoch) if self._pace is not None else self._plan.at(epoch, progress)

    def mix(self, step: int, epoch: int, progress: float) -> Mapping[str, float]:
        """mixture: lam of the batch is of the target, the rest of the source."""
        done = progress if self._clock is None else self._clock.progress(step)
        return {"source": 1.0 - self._lam(epoch, done)}

    def combine(
        self, images: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int, epoch: int, progress: float
    ) -> Combined:
        """mixup, coupled: lam·x_t + (1 − lam)·x_s in one pass, with each task's loss weighted like its pixels."""
        from transferkit import Combined

        if self.mode == "mixture":
            return Combined(images, labels)
        lam = self._drawn(self._lam(epoch, progress), step)
        blend = images["source"].lerp(images["target"], lam)
        return Combined(dict.fromkeys(images, blend), labels, {"target": lam, "source": 1.0 - lam})

    def _drawn(self, lam: float, step: int) -> float:
        """With beta, a draw with mean lam, the same in all processes; else lam itself."""
        if not self.beta or not 0 < lam < 1 or self._rng is None:
            return lam
        return float(self._rng("beta", step).beta(lam, 1.0 - lam))

    def epoch_end(self, session: Session, epoch: int, metrics: Mapping[str, Any]) -> Mapping[str, float]:
        """lam, the mean over the epoch, and how many images of each task have been trained on so far."""
        assert self._clock is not None
        first = epoch * self._clock.passes
        lams = []
        for lam, counts in self._passes(epoch, range(first, first + session.state.batch)):
            lams.append(lam)
            for name, count in counts.items():
                self._seen[name] += count
        if self._pace is not None:
            self._pace.observe(epoch, float(metrics["train"]["loss"]))
        return {"lam": sum(lams) / len(lams), **{name: float(count) for name, count in self._seen.items()}}

    def _passes(self, epoch: int, numbers: range) -> Iterator[tuple[float, dict[str, int]]]:
        """Of each forward pass its lam and the images of each task that counted in it."""
        assert self._clock is not None
        size = self._clock.batch_size
        for number in numbers:
            lam = self._lam(epoch, self._clock.progress(number))
            if self.mode == "mixture":
                target = target_counts(lam, size, number)
                yield lam, {"target_images": target, "source_images": size - target}
            else:
                count = self._clock.paired(number)
                yield lam, {"target_images": count * (lam > 0), "source_images": count * (lam < 1)}

    def state_dict(self) -> dict[str, Any]:
        """The exposures, and the lams that the loss chose."""
        return {"seen": dict(self._seen), "pace": None if self._pace is None else self._pace.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: past epochs answer with the lam they had."""
        self._seen = {name: int(count) for name, count in state["seen"].items()}
        if self._pace is not None and state["pace"] is not None:
            self._pace.restore(state["pace"])


def _among_options(given: TaskInterpolation, parts: int) -> list[str]:
    """One sentence each; `parts` is the number of lams that are left after skip_source_stage."""
    found = []
    if given.skip_source_stage and given.lams[0] > 0:
        found.append(f"skip_source_stage has nothing to skip: lams begins with {given.lams[0]:g}, not 0")
    if given.beta and given.mode == "mixture":
        found.append("beta draws how pixels are blended, but mode mixture does not blend; use mode mixup or coupled")
    if given.blocks is not None and given.mode != "coupled":
        found.append(f"blocks is how mode coupled matches images, but the mode is {given.mode}")
    if given.band is not None and given.pace != "loss":
        found.append("band belongs to pace: loss, but the pace is grid")
    if given.pace == "loss" and given.shape != "grid":
        found.append(f"pace: loss moves lam by the training loss, so shape: {given.shape} would do nothing")
    if given.pace == "loss" and parts == 1:
        found.append("pace: loss has nothing to move: lam is 1 throughout")
    return found


def _with_stage(given: TaskInterpolation, stage: Stage, parts: int) -> list[str]:
    found = []
    if given.source == stage.dataset:
        found.append(f"the source task's data set \"{given.source}\" is the stage's own; source names another one")
    needs = f"{parts} lams" if given.shape == "grid" else f"a {given.shape} lam"
    least = parts if given.shape == "grid" else 1
    for name, length in (("epochs", stage.epochs), ("steps", stage.steps)):
        if length is not None and length < least:
            found.append(f"{needs} need at least {least} {name}; the stage has {length}")
    if given.mode != "mixture" and stage.mixup is not None:
        found.append(
            f"mode {given.mode} blends target images with source images, and the stage's mixup blends them with each "
            "other first; leave out one of the two, or use mode mixture"
        )
    if given.mode == "coupled" and stage.start == "scratch":
        found.append("mode coupled compares images by the features of the model that the stage starts from: scratch")
    if given.mode == "mixture" and given.heads == "separate" and stage.fixed_features:
        found.append(
            "with fixed_features, mode mixture and heads: separate the source images change nothing that the target "
            "uses; use heads: shared or concat, or leave out fixed_features"
        )
    return found

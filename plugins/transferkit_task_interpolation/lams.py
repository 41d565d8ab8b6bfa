"""The weight `lam` of the target: when it holds which, how many images of a batch that is, and lam by the loss."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from transferkit.data import images_due

Shape = Literal["grid", "linear", "cosine"]
BAND = 0.2  # in units of the loss


def schedule(lams: Sequence[float], total_epochs: int) -> list[tuple[int, int, float]]:
    """(first epoch, end epoch, lam) for every lam in turn; the end is exclusive.

    All get the same number of epochs. What does not divide evenly goes to the last ones, one epoch each: 7 epochs
    over five lams are 1, 1, 1, 2, 2. Raises ValueError for lams outside 0..1 and for fewer epochs than lams.
    """
    values, total = [float(lam) for lam in lams], int(total_epochs)
    if not values or not all(0 <= lam <= 1 for lam in values):
        raise ValueError(f"lams must be one or more numbers from 0 to 1, not {list(lams)}")
    if total != total_epochs or total < len(values):
        raise ValueError(f"{len(values)} lams need at least {len(values)} whole epochs, not {total_epochs}")
    each, over = divmod(total, len(values))
    found, first = [], 0
    for place, lam in enumerate(values):
        end = first + each + (place >= len(values) - over)
        found.append((first, end, lam))
        first = end
    return found


def target_counts(lam: float, batch_size: int, step: int) -> int:
    """Target images in the batch of this step: ⌊lam·B·(step+1)⌋ − ⌊lam·B·step⌋.

    The first s steps have ⌊lam·B·s⌋ of them together, so that their mean tends to lam·B for any lam. Products that
    miss a whole number by rounding alone, as 0.29·100 does, count as whole.
    """
    if not 0 <= lam <= 1 or batch_size < 1 or step < 0:
        raise ValueError(f"lam {lam} must be in 0..1, batch size {batch_size} above 0 and step {step} not negative")
    return images_due(lam * batch_size, step)


@dataclass(frozen=True)
class Plan:
    """lam as a function of time: `lams` in equal parts of the stage, or what lies between them.

    `linear` is at each lam of the grid when its part begins and goes straight on to the next; `cosine` passes the
    same values, slowly at both ends. Both reach 1 when the last part begins, as the grid does.
    """

    lams: tuple[float, ...]
    shape: Shape = "grid"
    epochs: int | None = None
    """With a length in epochs the parts of a grid are whole epochs; without one, shares of the steps."""

    def at(self, epoch: int, progress: float) -> float:
        """lam in this epoch (from 0) after this share of all steps."""
        last = len(self.lams) - 1
        if last == 0:
            return self.lams[0]
        if self.shape == "grid":
            if self._firsts:
                return self.lams[max(0, bisect_right(self._firsts, epoch) - 1)]
            return self.lams[min(last, math.floor(progress * len(self.lams) + 1e-9))]
        place = min(1.0, max(0.0, progress) * len(self.lams) / last)
        if self.shape == "cosine":
            place = (1 - math.cos(math.pi * place)) / 2
        return self._between(place * last)

    @cached_property
    def _firsts(self) -> list[int]:
        """The first epoch of every part, where parts are whole epochs."""
        return [] if self.epochs is None else [first for first, _, _ in schedule(self.lams, self.epochs)]

    def _between(self, place: float) -> float:
        """Piecewise linear through the lams at 0, 1, 2, …; exact at the ends."""
        low = min(math.floor(place + 1e-9), len(self.lams) - 1)
        if low == len(self.lams) - 1:
            return self.lams[-1]
        part = max(0.0, place - low)
        return self.lams[low] + part * (self.lams[low + 1] - self.lams[low])


@dataclass
class Pace:
    """lam that waits for the loss: the iso-classification idea, with a deadline.

    It holds within an epoch and moves after it, the less the higher the training loss is.
    Nothing moves further than `step` in one epoch, twice what an even pace would need. A loss no higher than that of
    the first epoch moves lam by a whole step, one that is `band` higher not at all, one between by what is left of
    the band. From the deadline on lam is 1, and before it never so low that whole steps could not get there in time.
    """

    first: float
    deadline: int
    """The epoch, from 0, at which lam has to be 1."""
    band: float = BAND
    lams: list[float] = field(default_factory=list)
    start: float | None = None
    """The training loss of the first epoch."""

    def __post_init__(self) -> None:
        self.lams = self.lams or [self.first if self.deadline > 0 else 1.0]

    @property
    def step(self) -> float:
        """The most that lam moves in an epoch."""
        return min(1.0, 2.0 / max(1, self.deadline)) * (1.0 - self.first)

    def at(self, epoch: int) -> float:
        """lam in this epoch, which must be over or the present one."""
        return self.lams[min(epoch, len(self.lams) - 1)]

    def observe(self, epoch: int, loss: float) -> None:
        """The training loss of an epoch decides lam for the next."""
        if self.start is None and math.isfinite(loss):
            self.start = loss
        room = 0.0
        if self.start is not None and math.isfinite(loss):
            room = min(1.0, max(0.0, (self.start + self.band - loss) / self.band))
        latest = 1.0 - self.step * max(0, self.deadline - (epoch + 1))
        lam = max(self.at(epoch) + room * self.step, latest)
        del self.lams[epoch + 1 :]
        self.lams.append(1.0 if lam > 1.0 - 1e-9 else lam)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"lams": list(self.lams), "start": self.start}

    def restore(self, state: dict[str, Any]) -> None:
        """The other half of `state`."""
        self.lams, self.start = [float(lam) for lam in state["lams"]], state["start"]

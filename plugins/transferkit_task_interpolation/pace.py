"""lam that waits for the loss: the iso-classification idea, with a deadline."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

BAND = 0.2  # in units of the loss


@dataclass
class Pace:
    """lam per epoch. It holds within an epoch and moves after it, the less the higher the training loss is.

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

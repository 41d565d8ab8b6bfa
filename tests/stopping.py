"""A run that a signal stops between two steps of its training."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from transferkit.errors import Interrupted
from transferkit.training.trainer import Trainer


@contextmanager
def stopped_at(step: int) -> Iterator[pytest.ExceptionInfo[Interrupted]]:
    """SIGTERM arrives after so many steps of a stage; the run inside must be interrupted by it."""
    before = Trainer.save_or_stop

    def stop(self: Trainer) -> None:
        if self.state.step == step:
            self.stop.number = signal.SIGTERM
        before(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted) as caught:
        patch.setattr(Trainer, "save_or_stop", stop)
        yield caught

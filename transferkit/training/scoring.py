"""Metrics of plugins: all logits of a data set, kept for them in the order of its images."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from transferkit.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from transferkit.data.samples import Samples
    from transferkit.plugins.hooks import Call

AT_ONCE = 2**24  # numbers that processes exchange at a time


class Scores:
    """The logits and labels of an evaluation, by image: 4 bytes for each image and class, on the CPU."""

    def __init__(self, metrics: Sequence[Call], samples: Samples) -> None:
        self.metrics, self.samples = metrics, samples
        self.logits: Tensor | None = None
        self.labels: Tensor | None = None

    def add(self, indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: which images (n,), their logits (n, K) and labels (n,)."""
        if self.logits is None or self.labels is None:
            self.logits = torch.zeros(len(self.samples), logits.shape[1])
            self.labels = torch.zeros(len(self.samples), dtype=labels.dtype)
        self.logits[indices], self.labels[indices] = logits.cpu(), labels.cpu()

    def result(self, accelerator: Accelerator) -> dict[str, dict[str, float]]:
        """{metric: {name: number}}, the same in all processes. Raises InputError for anything else, naming whose."""
        assert self.logits is not None and self.labels is not None
        if accelerator.num_processes > 1:
            self._gather(accelerator)
        groups = torch.from_numpy(self.samples.groups)
        offer = SimpleNamespace(logits=self.logits, labels=self.labels, groups=groups)
        found = {call.plugin.name: numbers(call, call(offer)) for call in self.metrics}
        if accelerator.num_processes > 1:
            broadcast_object_list(shared := [found])
            found = shared[0]
        return found

    def _gather(self, accelerator: Accelerator) -> None:
        """Every image is looked at by one process; in the others its row is zero, so that sums are exact."""
        assert self.logits is not None and self.labels is not None
        step = max(1, AT_ONCE // max(self.logits.shape[1], 1))
        for whole in (self.logits, self.labels):
            for start in range(0, len(whole), step):
                part = whole[start : start + step]
                part.copy_(accelerator.reduce(part.to(accelerator.device), "sum").cpu())


def numbers(call: Call, given: Any) -> dict[str, float]:
    """What `score` returned, as plain numbers. Raises InputError for anything else."""
    try:
        return {str(name): float(value) for name, value in dict(given).items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"{call.plugin}: score must return {{name: number}}, not {given!r:.80}") from error

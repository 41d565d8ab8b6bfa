"""Reading batches on request: in this process without any machinery, or in worker processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.data.randomness import preserved
from transferkit.data.workers import Worker
from transferkit.errors import TransferkitError

if TYPE_CHECKING:
    from transferkit.data.samples import Samples

PIECES = 2
"""Batches that each worker reads ahead."""


@dataclass
class Batch:
    """One step's images of this process, by stream: (n, C, H, W), with labels and sample indices (n,)."""

    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    indices: dict[str, Tensor]
    total: int
    """Images in the step over all processes; partners of target images do not count."""
    totals: dict[str, int] = field(default_factory=dict)
    """Images of each stream over all processes."""
    finish: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    """What makes images of the pixels, where that is left to the device (see `on`)."""

    def on(self, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Images and labels by stream on that device, normalised there where that was left to it."""
        images, labels = (
            {name: tensor.to(device, non_blocking=True) for name, tensor in part.items()}
            for part in (self.images, self.labels)
        )
        return images | {name: finish(images[name]) for name, finish in self.finish.items()}, labels


@dataclass(frozen=True)
class Request:
    """Which samples make up a batch: {stream: (indices, epochs)}, each (n,)."""

    picks: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
    total: int
    totals: dict[str, int] = field(default_factory=dict)


class Feed:
    """Turns requests into batches, in order; `workers` processes, which live on between passes if `persistent`.

    With `pin_memory` batches lie in page-locked memory, from which copies to a GPU are faster, and their pixels are
    normalised by `Batch.on`.
    """

    def __init__(
        self, streams: Mapping[str, Samples], workers: int = 0, pin_memory: bool = False, persistent: bool = True
    ) -> None:
        self.waiting: Callable[[], None] = lambda: None
        """Called again and again while a batch is waited for. What it raises ends the wait."""
        self._streams = dict(streams)
        self._count, self._pin_memory, self._persistent = workers, pin_memory, persistent
        self._workers: list[Worker] = []
        self._asked: deque[tuple[Worker, int]] = deque()
        self._pass = 0

    def read(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """The batches. Raises what a reader raises; TransferkitError when a worker process dies or hangs."""
        if self._count:
            return self._from_workers(iter(requests))
        return map(self._here, requests)

    def close(self) -> None:
        """End the worker processes; the next `read` starts new ones."""
        for worker in self._workers:
            worker.end()
        self._workers, self._asked = [], deque()

    def _here(self, request: Request) -> Batch:
        random = any(self._streams[name].random for name in request.picks)
        read = {}
        with preserved() if random else nullcontext():
            for name, picked in request.picks.items():
                read[name] = self._streams[name].read(*picked, each=lambda _: self.waiting())
        return self._batch(request, read, shared=False)

    def _from_workers(self, requests: Iterator[Request]) -> Iterator[Batch]:
        self._start()
        self._pass += 1
        turn, number, ahead = self._pass, 0, deque[Request]()
        try:
            while turn == self._pass:
                while len(ahead) < PIECES * self._count and (request := next(requests, None)) is not None:
                    asked = self._workers[number % self._count], number // self._count % PIECES
                    asked[0].ask(asked[1], request.picks)
                    self._asked.append(asked)
                    ahead.append(request)
                    number += 1
                if not ahead:
                    return
                worker, piece = self._asked[0]
                read = worker.answer(piece, self._streams, self.waiting)
                self._asked.popleft()
                yield self._batch(ahead.popleft(), read, shared=True)
            raise RuntimeError("another pass over the same feed began before this one was at its end")
        finally:
            if turn == self._pass and (self._asked or not self._persistent):
                self.close()

    def _start(self) -> None:
        """As many workers as there should be, none of them with anything to do."""
        if self._asked:  # of a pass that did not come to its end
            self.close()
        try:
            while len(self._workers) < self._count:
                self._workers.append(Worker(self._streams, PIECES))
        except OSError as error:
            self.close()
            what = f"{self._count} data worker processes could not be started ({error})"
            raise TransferkitError(f"{what}: try fewer, or workers=0") from None

    def _batch(self, request: Request, read: Mapping[str, Sequence[Tensor]], *, shared: bool) -> Batch:
        """In memory of its own: the shared memory will be used again."""
        batch = Batch({}, {}, {}, request.total, request.totals)
        for name, (kept, labels) in read.items():
            finish = self._streams[name].finish
            batch.indices[name] = torch.from_numpy(request.picks[name][0])
            if self._pin_memory:
                batch.images[name], batch.labels[name] = kept.pin_memory(), labels.pin_memory()
                batch.finish[name] = finish
            else:
                done = finish(kept)
                batch.images[name] = done.clone() if shared and done is kept else done
                batch.labels[name] = labels.clone() if shared else labels
        return batch

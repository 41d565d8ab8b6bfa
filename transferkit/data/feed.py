"""Reading batches on request: in this process without any machinery, or in worker processes."""

from __future__ import annotations

import atexit
import functools
import signal
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from transferkit.errors import TransferkitError

if TYPE_CHECKING:
    from transferkit.data.samples import Samples


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

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU are faster."""

        def pinned(part: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.pin_memory() for name, tensor in part.items()}

        return Batch(pinned(self.images), pinned(self.labels), pinned(self.indices), self.total, self.totals)


@dataclass(frozen=True)
class Request:
    """Which samples make up a batch: {stream: (indices, epochs)}, each (n,)."""

    picks: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
    total: int
    totals: dict[str, int] = field(default_factory=dict)


class Feed:
    """Turns requests into batches, in order; `workers` processes, which live on between epochs if `persistent`."""

    def __init__(
        self, streams: Mapping[str, Samples], workers: int = 0, pin_memory: bool = False, persistent: bool = True
    ) -> None:
        self._reader = _Reader(dict(streams))
        self._pin_memory = pin_memory
        self._queue = _Queue()
        self._loader: DataLoader[Any] | None = None
        if workers > 0:
            self._loader = DataLoader(
                self._reader,
                sampler=self._queue,
                batch_size=None,
                num_workers=workers,
                persistent_workers=persistent,
                worker_init_fn=_start_worker,
                pin_memory=pin_memory,
                # its own, because making an iterator draws a number, by default from the global generator
                generator=torch.Generator(),
            )

    def read(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """The batches. Raises what a reader raises; TransferkitError when a worker process dies."""
        if self._loader is not None:
            return self._from_workers(self._loader, requests)
        if self._pin_memory:
            return (self._reader.read(request).pin_memory() for request in requests)
        return map(self._reader.read, requests)

    def close(self) -> None:
        """End the worker processes; the next `read` starts new ones."""
        if self._loader is not None and self._loader._iterator is not None:
            self._loader._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._loader._iterator = None

    def _from_workers(self, loader: DataLoader[Any], requests: Iterable[Request]) -> Iterator[Batch]:
        self._queue.requests = requests
        try:
            iterator: Any = iter(loader)
            _killed_at_exit().update(iterator._workers)
            for item in iterator:
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or "Caught " in str(error):
                raise
            self.close()
            raise TransferkitError(_death(str(error))) from None


class _Reader(Dataset[Any]):
    def __init__(self, streams: dict[str, Samples]) -> None:
        self.streams = streams

    def __getitem__(self, request: Request) -> Batch | _Failure:
        """In a worker. Errors travel as values: torch would rebuild them from their message alone."""
        try:
            return self.read(request)
        except TransferkitError as error:
            return _Failure(error)

    def read(self, request: Request) -> Batch:
        images, labels, indices = {}, {}, {}
        for name, (chosen, epochs) in request.picks.items():
            images[name], labels[name] = self.streams[name].batch(chosen, epochs)
            indices[name] = torch.from_numpy(chosen)
        return Batch(images, labels, indices, request.total, request.totals)


@dataclass(frozen=True)
class _Failure:
    error: TransferkitError


class _Queue(Sampler[Any]):
    """Hands the requests of the current epoch to the workers, which are the same ones in every epoch."""

    requests: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


@functools.cache
def _killed_at_exit() -> weakref.WeakSet[Any]:
    """Worker processes that must not outlive this one.

    Python ends its children by a signal that these ignore, and would then wait for one that was left open, for ever.
    """
    processes: weakref.WeakSet[Any] = weakref.WeakSet()
    atexit.register(lambda: [process.kill() for process in list(processes) if process.is_alive()])
    return processes


def _start_worker(_: int) -> None:
    """Signals are for the main process, which saves and ends its workers; often the whole group gets them.

    A worker that died of one would make torch raise in the middle of the save.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def _death(message: str) -> str:
    return (
        f"a data worker process died ({message.strip().splitlines()[0].rstrip('. ')}). "
        "Usual causes: not enough memory, too little shared memory "
        "(/dev/shm; in a container raise --shm-size), or a crash in an image library. "
        "Try fewer workers, or workers=0 to see the cause"
    )

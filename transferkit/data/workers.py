"""Processes that read batches into memory which they share with this one.

The memory has no name: nothing is left behind by a process that is killed, and the size of /dev/shm, 64 MB in a
container, does not count. What goes through pipes is so small that sending never waits.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import DupFd
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transferkit.errors import TransferkitError
from transferkit.system.signals import SIGNALS

if TYPE_CHECKING:
    from transferkit.data.samples import Samples

PATIENCE = 600.0
"""Seconds in which a worker has to read one image. A slow disk takes some; only one that hangs takes this long."""
POLL = 0.1
"""Seconds between two looks at what else may have happened while waiting for a batch."""
ORPHAN_POLL = 5.0
"""Seconds between two looks of an idle worker at whether the run is still there."""
HEADER = 64
"""Bytes before the data in shared memory: three integers of `Progress`, then room to align what follows."""

Place = tuple[int, tuple[int, ...], torch.dtype]


class Shared:
    """Memory that two processes share, and which grows when more is needed."""

    def __init__(self) -> None:
        memfd = getattr(os, "memfd_create", None)
        if memfd is not None:
            self._file = memfd("transferkit")
        else:  # not Linux: a file that has no name any more
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        self._close = Finalize(self, os.close, (self._file,))
        self._memory = self._mapped(HEADER)

    def _mapped(self, size: int) -> mmap.mmap:
        try:
            if os.fstat(self._file).st_size < size:
                os.ftruncate(self._file, size)
            return mmap.mmap(self._file, size)
        except OSError as error:
            raise TransferkitError(
                f"no {size / 2**20:.0f} MiB of memory to share with a data worker process ({error.strerror}): "
                "try a smaller batch_size, fewer workers, or workers=0"
            ) from None

    def tensor(self, place: Place) -> Tensor:
        """The tensor at that place (offset, shape, dtype): a view, which changes when its memory is used again."""
        offset, shape, dtype = place
        count = int(np.prod(shape))
        end = offset + count * dtype.itemsize
        if end > len(self._memory):
            self._memory = self._mapped(end)  # tensors in the old mapping see the same memory
        return torch.frombuffer(self._memory, dtype=dtype, count=count, offset=offset).reshape(shape)

    @property
    def progress(self) -> Tensor:
        """(3,) int64: images begun so far, the number of their stream, the index of the image begun last."""
        return self.tensor((0, (3,), torch.int64))

    def __getstate__(self) -> Any:
        return DupFd(self._file)  # only while a process is started by other means than fork

    def __setstate__(self, state: Any) -> None:
        self._file = state.detach()
        self._memory = self._mapped(HEADER)


class _Room:
    """Hands out shared memory, one tensor after the other, and remembers where each lies."""

    def __init__(self, shared: Shared) -> None:
        self.shared, self.end, self.places = shared, HEADER, []  # type: ignore[var-annotated]

    def new(self, shape: tuple[int, ...], *, dtype: torch.dtype) -> Tensor:
        place = (self.end, tuple(shape), dtype)
        self.places.append(place)
        self.end += -(-int(np.prod(shape)) * dtype.itemsize // HEADER) * HEADER
        return self.shared.tensor(place)


class Worker:
    """One process, which fills its pieces of shared memory in turn."""

    def __init__(self, streams: Mapping[str, Samples], pieces: int) -> None:
        self.shared = [Shared() for _ in range(pieces)]
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_work, args=(dict(streams), theirs, self.shared), daemon=True)
        self.process.start()
        theirs.close()
        # at exit Python ends its children by a signal that these ignore, and waits for them: this comes before
        self.end = Finalize(self, _end, (self.process, self.connection), exitpriority=10)

    def ask(self, piece: int, picks: Mapping[str, tuple[Any, Any]]) -> None:
        """Have it read {stream: (indices, epochs)}, each (n,), into a piece of its memory."""
        asked = pickle.dumps(picks)
        room = _Room(self.shared[piece])
        room.new((len(asked),), dtype=torch.uint8).copy_(torch.frombuffer(bytearray(asked), dtype=torch.uint8))
        try:
            self.connection.send((piece, room.places[0]))
        except OSError:
            self._died()

    def answer(
        self, piece: int, streams: Mapping[str, Samples], waiting: Callable[[], None]
    ) -> dict[str, list[Tensor]]:
        """{stream: [images, labels]}, views of the shared memory. `waiting` is called while it takes time.

        Raises what reading raises, and TransferkitError when the process died or does nothing any more.
        """
        progress = self.shared[piece].progress
        seen, since = progress.tolist(), time.monotonic()
        while not (ready := wait([self.connection, self.process.sentinel], timeout=POLL)):
            waiting()
            now = progress.tolist()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                samples = streams[list(streams)[seen[1]]]
                raise TransferkitError(
                    f"a data worker process has been reading one image for {PATIENCE / 60:.0f} minutes: "
                    f'{samples.ids[seen[2]]} of "{samples.name}". Its disk or file server does not answer, or an image '
                    "library or a plugin hangs"
                )
        try:
            if self.connection not in ready and not self.connection.poll():
                self._died()
            answer = self.connection.recv()
        except (EOFError, ConnectionError):
            self._died()
        if isinstance(answer, tuple):
            error, trace = answer
            error.add_note(f"in a data worker process:\n{trace}")
            raise error
        return {name: [self.shared[piece].tensor(place) for place in places] for name, places in answer.items()}

    def _died(self) -> None:
        self.process.join(timeout=ORPHAN_POLL)
        code = self.process.exitcode
        how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        raise TransferkitError(
            f"a data worker process died ({how}). Usual causes: not enough memory, or a crash in an image library. "
            "Try fewer workers, or workers=0 to see the cause"
        )


def _end(process: Any, connection: Connection) -> None:
    """Workers keep nothing that would have to be put away."""
    connection.close()
    process.kill()
    process.join(timeout=ORPHAN_POLL)  # one that waits for a dead file server cannot be waited for


# -- in the worker -----------------------------------------------------------------------------------------------


def _work(streams: dict[str, Samples], connection: Connection, pieces: list[Shared]) -> None:
    """Signals are for the main process, which saves and ends its workers; often the whole group gets them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = os.getppid()
    while True:
        while not connection.poll(ORPHAN_POLL):
            if os.getppid() != parent:
                return
        try:
            piece, place = connection.recv()
            connection.send(_filled(streams, pieces[piece], place))
        except (EOFError, ConnectionError):
            return


def _filled(
    streams: dict[str, Samples], shared: Shared, asked: Place
) -> dict[str, list[Place]] | tuple[BaseException, str]:
    """Where the images and labels of each stream lie; or what was raised, and its traceback here."""
    try:
        room, progress = _Room(shared), shared.progress

        def begin(index: int) -> None:
            progress[2] = index
            progress[0] += 1

        picks = pickle.loads(shared.tensor(asked).numpy().tobytes())
        filled = {}
        for name, (indices, epochs) in picks.items():
            progress[1] = list(streams).index(name)
            first = len(room.places)
            _, labels = streams[name].read(indices, epochs, room.new, begin)
            room.new(labels.shape, dtype=labels.dtype).copy_(labels)
            filled[name] = room.places[first:]
        return filled
    except BaseException as error:  # a plugin that leaves by SystemExit too: in this process nobody would learn of it
        return _sendable(error), traceback.format_exc()


def _sendable(error: BaseException) -> BaseException:
    """Itself where it can travel between processes, or else its sentence and notes."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    told = RuntimeError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", ()):
        told.add_note(note)
    return told

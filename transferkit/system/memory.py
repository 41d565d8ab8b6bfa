"""Running out of memory is told in a sentence, with what would fit. Never imports torch."""

from __future__ import annotations

import _thread
import errno
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transferkit.errors import OutOfMemory

SIGNS = (
    *("can't allocate memory", "out of memory", "ALLOC_FAILED", "not enough memory"),
    *("can't start new thread", "failed to map segment"),  # a thread has a stack; a library's code lies in memory
    *("could not create a primitive", "could not execute a primitive"),  # oneDNN's
)
ROOM, SOME_ROOM = 256 << 20, 16 << 20  # bytes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is one of the ways in which Python, NumPy, torch and CUDA say that memory is short."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, SystemError):  # Python itself, where an error found no memory to be told in
        return not _has_room(ROOM)
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in SIGNS)


def _has_room(size: int) -> bool:
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError):
        return False
    return True


def need_room() -> None:
    """Raise MemoryError where memory is nearly gone: before a library in Rust, which then ends the process at once."""
    if not _has_room(SOME_ROOM):
        raise MemoryError(f"not enough memory: fewer than {SOME_ROOM >> 20} MiB are left")


@contextmanager
def enough_memory(sentence: Callable[[], str]) -> Iterator[None]:
    """Inside, a lack of memory becomes OutOfMemory with this sentence; what was said stays as the cause."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(sentence()) from error


def smaller_batch(batch_size: int, accumulate: int, at_most: int | None = None) -> tuple[int, int] | None:
    """(batch_size, accumulate) with the same product and `at_most` so many images at once; None for one image.

    By default about a quarter of them: 64, 1 -> 16, 4.
    """
    if batch_size < 2:
        return None
    product, wanted = batch_size * accumulate, at_most or max(batch_size // 4, 2)
    size = max(size for size in range(1, min(wanted, batch_size - 1) + 1) if product % size == 0)
    return size, product // size


def fewer_at_once(option: str, count: int) -> Callable[[], str]:
    """The sentence for a command whose option says how many images it passes at once."""
    smaller = smaller_batch(count, 1)
    advice = "use a model with a smaller input size" if smaller is None else f"try {option} {smaller[0]}"
    return lambda: f"out of memory with {option} {count}: {advice}"


def in_background(work: Callable[[], object]) -> None:
    """Begin the work in a thread of its own, which ends with the process at the latest. Raises OutOfMemory.

    Python's own `Thread.start` waits until the thread says that it runs, and one that lacks the memory to do so never
    does: https://github.com/python/cpython/issues/140746.
    """
    try:
        _thread.start_new_thread(work, ())
    except (RuntimeError, MemoryError) as error:
        raise OutOfMemory("out of memory: not even a thread can be started; free some, or raise its limit") from error

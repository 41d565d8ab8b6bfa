"""Running out of memory is told in a sentence, with what would fit. Never imports torch."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transferkit.errors import OutOfMemory

SIGNS = (
    *("can't allocate memory", "out of memory", "ALLOC_FAILED", "not enough memory"),
    *("can't start new thread", "failed to map segment"),  # a thread has a stack; a library's code lies in memory
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is one of the ways in which Python, NumPy, torch and CUDA say that memory is short."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in SIGNS)


@contextmanager
def enough_memory(sentence: Callable[[], str]) -> Iterator[None]:
    """Inside, a lack of memory becomes OutOfMemory with this sentence; what was said stays as the cause."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(sentence()) from error


def smaller_batch(batch_size: int, accumulate: int) -> tuple[int, int] | None:
    """(batch_size, accumulate) with the same product and about a quarter of the images at once; None for one image.

    64, 1 -> 16, 4. Where no divisor is that small, the largest below batch_size.
    """
    product, wanted = batch_size * accumulate, max(batch_size // 4, 2)
    fitting = [size for size in range(1, batch_size) if product % size == 0]
    if not fitting:
        return None
    size = max((size for size in fitting if size <= wanted), default=min(fitting))
    return size, product // size


def fewer_at_once(option: str, count: int) -> Callable[[], str]:
    """The sentence for a command whose option says how many images it passes at once."""
    smaller = smaller_batch(count, 1)
    advice = "use a model with a smaller input size" if smaller is None else f"try {option} {smaller[0]}"
    return lambda: f"out of memory with {option} {count}: {advice}"

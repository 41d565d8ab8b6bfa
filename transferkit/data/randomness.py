"""Every random number has a key: the same parts give the same numbers, in any process, in any order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b

import numpy as np


def key(*parts: str | int) -> int:
    """A 63-bit integer that depends on the parts, their types and their order alone.

    Strings and integers never collide (`1` and `"1"` differ), nor do split strings (`"ab", "c"` and
    `"a", "bc"`).
    """
    return int.from_bytes(_digest(parts, 8), "big") >> 1


def _digest(parts: tuple[str | int, ...], size: int) -> bytes:
    digest = _fed(size, parts[:-1]).copy()
    digest.update(_encoded(parts[-1]) if parts else b"")
    return digest.digest()


@lru_cache(maxsize=64)  # the keys of neighbouring images differ in their last part only
def _fed(size: int, parts: tuple[str | int, ...]) -> blake2b:
    return blake2b(b"".join(map(_encoded, parts)), digest_size=size)


def _encoded(part: str | int) -> bytes:
    text = (part if isinstance(part, str) else str(int(part))).encode()
    return b"%c%d:%b" % (b"s" if isinstance(part, str) else b"i", len(text), text)


def numpy_rng(*parts: str | int) -> np.random.Generator:
    """A generator of its own for this key."""
    return np.random.Generator(np.random.PCG64(key(*parts)))


_BORROWED = threading.local()


def borrowed_rng(*parts: str | int) -> np.random.Generator:
    """A generator for this key, good until the next call in the same thread; its numbers are not `numpy_rng`'s.

    For every image anew: putting one generator into the state of the key takes a third of the time of making one.
    """
    digest = _digest(parts, 32)
    state, stream = int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:], "big") | 1
    if not hasattr(_BORROWED, "generator"):
        _BORROWED.generator = np.random.Generator(np.random.PCG64(0))
    generator: np.random.Generator = _BORROWED.generator
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": stream},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator


@contextmanager
def seeded(*parts: str | int) -> Iterator[None]:
    """Seed the global generators of torch (CPU), random and numpy from the key; put all three back after.

    For code that draws from global state: timm's transforms use `random`, RandAugment also numpy,
    torchvision uses torch.
    """
    with preserved():
        seed_all(*parts)
        yield


def seed_all(*parts: str | int) -> None:
    """Seed the global generators of torch (CPU), random and numpy from the key."""
    import torch

    value = key(*parts)
    torch.default_generator.manual_seed(value)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)


@contextmanager
def preserved() -> Iterator[None]:
    """Put the global generators of torch (CPU), random and numpy back as they were afterwards."""
    import torch

    generator = torch.default_generator
    before = generator.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        generator.set_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])

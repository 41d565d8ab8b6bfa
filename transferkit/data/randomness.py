"""Every random number has a key: the same parts give the same numbers, in any process, in any order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np


def key(*parts: str | int) -> int:
    """A 63-bit integer that depends on the parts, their types and their order alone.

    Strings and integers never collide (`1` and `"1"` differ), nor do split strings (`"ab", "c"` and
    `"a", "bc"`).
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        text = (part if isinstance(part, str) else str(int(part))).encode()
        digest.update(b"%c%d:" % (b"s" if isinstance(part, str) else b"i", len(text)))
        digest.update(text)
    return int.from_bytes(digest.digest(), "big") >> 1


def numpy_rng(*parts: str | int) -> np.random.Generator:
    """A generator of its own for this key."""
    return np.random.Generator(np.random.PCG64(key(*parts)))


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

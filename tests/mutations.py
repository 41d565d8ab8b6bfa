"""Seeded damage of JSON content: what a stranger, a disk or an editor may have made of a file."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

DEEP: Any = json.loads("[" * 200 + "]" * 200)
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 1.5, -0.5, 1e308, 10**9, 10**30, "", "x", "7", "\ud800", "a\x1b[2J", "../../x",
    "x" * 5000, [], [1], [0, 0, 0], ["a", "b"], ["a", "a"], [None], [[1]], {}, {"a": 1}, {"": {}}, DEEP,
]  # fmt: skip


def mutated(content: Any, seed: int) -> tuple[Any, str]:
    """A copy with one to three places replaced, removed or added, and what was done."""
    rng = random.Random(seed)
    content, done = copy.deepcopy(content), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(content))
        holder, key = rng.choice(places)
        kind = rng.choice(("replace", "replace", "replace", "remove", "add", "scale"))
        value = copy.deepcopy(rng.choice(VALUES))
        if kind == "remove":
            del holder[key]
        elif kind == "add" and isinstance(holder, list):
            holder.insert(key, value)
        elif kind == "add":
            holder[rng.choice(("extra", "file", "checkpoint_path", "weight", "depth"))] = value
        elif kind == "scale" and type(holder[key]) in (int, float):
            holder[key] *= rng.choice((-1, 0, 3, 1000, 10**7))
        else:
            holder[key] = value
        done.append(f"{kind} {key!r} {str(value)[:40]!r}")
    return content, f"seed {seed}: {'; '.join(done)}"


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key); never empty for a mapping."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)

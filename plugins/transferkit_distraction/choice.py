"""Which source classes are looked at: a choice that does not move when the thresholds of "lingering" do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from transferkit.data.randomness import key

AT_LEAST = 10


def in_order(classes: Sequence[int], seed: int) -> list[int]:
    """The classes in an order that depends on the seed and their own numbers alone."""
    return sorted(classes, key=lambda number: (key(seed, "distraction", int(number)), number))


def choose(with_images: Sequence[int], lingering: Collection[int], wanted: int, seed: int) -> list[int]:
    """The first `wanted` classes of the keyed order, and further lingering ones until ten of them are among these.

    The first part knows nothing of thresholds, so an audit with others finds its results in the cache, and classes
    that do not linger come along as the control. With `wanted` below ten, so many lingering ones are enough.
    """
    ordered = in_order(with_images, seed)
    chosen, rest = ordered[:wanted], ordered[wanted:]
    found = set(lingering)
    missing = min(AT_LEAST, wanted) - sum(number in found for number in chosen)
    return chosen + [number for number in rest if number in found][: max(missing, 0)]

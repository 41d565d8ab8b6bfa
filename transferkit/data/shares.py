"""How many images a share of a class is: one rule for the plan, before torch or NumPy, and for the run."""

from __future__ import annotations

import math
from collections.abc import Mapping


def rounded_share(share: float, count: int) -> int:
    """floor(share * count + 1/2), where 0.29 * 50 is 14.5 and not a little less."""
    return math.floor(round(share * count, 9) + 0.5)


def images_due(expected: float, step: int) -> int:
    """The images of a step such that all steps up to it have ⌊expected · steps⌋ together.

    Products that miss a whole number by rounding alone, as 0.29 · 100 does, count as whole.
    """
    return math.floor(expected * (step + 1) + 1e-9) - math.floor(expected * step + 1e-9)


def held_out(share: float, count: int) -> int:
    """The images of a class that a share for validation takes: where there are two, at least one on either side."""
    return min(max(rounded_share(share, count), 1), count - 1) if share > 0 and count >= 2 else 0


def fold_sizes(counts: Mapping[str, int], folds: int) -> dict[str, list[int]]:
    """{class: its images in each fold}: as equal as can be, and so that what is left over goes to all folds in turn."""
    found, first = {}, 0
    for label in sorted(counts):
        whole, rest = divmod(counts[label], folds)
        found[label] = [whole + ((fold - first) % folds < rest) for fold in range(folds)]
        first = (first + rest) % folds
    return found

"""What a measured number says about a sentence of a paper: by its interval, never by its value."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evidence.artefacts import Number
from transferkit.statistics import Estimate

HOLDS, FAILS, OPEN = "holds", "opposite", "not certain"


def read(number: Number, found: Estimate) -> str:
    """`holds` where the whole interval is where the paper says, `opposite` where none of it is, else `not certain`."""
    ends = (found.low, found.high)
    if any(math.isnan(end) for end in ends):
        return OPEN
    above, below = number.above, number.below
    if (above is None or found.low > above) and (below is None or found.high < below):
        return HOLDS
    if (above is not None and found.high < above) or (below is not None and found.low > below):
        return FAILS
    return OPEN


def row_reading(readings: Sequence[str]) -> str:
    """The word for a figure or table, from those of its numbers."""
    if not readings:
        return "shown"
    if all(reading == HOLDS for reading in readings):
        return "reproduced"
    if any(reading == HOLDS for reading in readings):
        return "in part"
    return "opposite" if all(reading == FAILS for reading in readings) else "not"

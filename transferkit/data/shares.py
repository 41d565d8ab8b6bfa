"""How many images a share of a class is: one rule for the plan, before torch or NumPy, and for the run."""

from __future__ import annotations

import math


def rounded_share(share: float, count: int) -> int:
    """floor(share * count + 1/2), where 0.29 * 50 is 14.5 and not a little less."""
    return math.floor(round(share * count, 9) + 0.5)

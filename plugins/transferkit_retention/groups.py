"""Source classes by how often the target images show them: never or hardly (source-only), rarely, often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transferkit_lingering import Memories

SOURCE_ONLY, RARE, COMMON, SHOWN = "source-only", "rare", "common", "rare or common"


def prevalence_groups(found: Memories, common: float) -> dict[str, NDArray[np.bool_]]:
    """{group: (K,) bool}: at most `v_lo` target images, more, more than the share `common` of them, and the last two.

    The first three are a partition of the classes.
    """
    only = found.prevalence <= found.v_lo
    often = ~only & (found.prevalence > math.floor(round(common * found.n_target, 9)))
    return {SOURCE_ONLY: only, RARE: ~only & ~often, COMMON: often, SHOWN: ~only}

"""Interference detection: pure functions for now; see score.py, threshold.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit_interference.score import interference_score
    from transferkit_interference.threshold import conformal_threshold

__all__ = ["conformal_threshold", "interference_score"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "conformal_threshold": "transferkit_interference.threshold",
        "interference_score": "transferkit_interference.score",
    },
)

"""How far weights travelled."""

from __future__ import annotations

from typing import Any

import numpy as np


def path_length(trajectory: Any) -> float:
    """Σ‖w_{k+1} − w_k‖₂ over the rows of (steps, dim), in float64: the fine-tuning distance ∫|dw|.

    One row has length 0. A shape that is no matrix raises ValueError; values that are not finite give NaN.
    """
    points = np.asarray(trajectory, dtype=np.float64)
    if points.ndim != 2 or not len(points):
        raise ValueError(f"a trajectory has the shape (steps, dim), not {points.shape}")
    if not np.isfinite(points).all():
        return float("nan")
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())

"""Task interpolation: from the source task to the target task in steps. Registration only; see curriculum.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_task_interpolation.coupling import optimal_coupling
    from transferkit_task_interpolation.lams import schedule, target_counts
    from transferkit_task_interpolation.trajectory import path_length

__all__ = ["optimal_coupling", "path_length", "schedule", "target_counts"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "optimal_coupling": "transferkit_task_interpolation.coupling",
        "path_length": "transferkit_task_interpolation.trajectory",
        "schedule": "transferkit_task_interpolation.lams",
        "target_counts": "transferkit_task_interpolation.lams",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the curriculum `task_interpolation`."""
    register.curriculum("task_interpolation", "transferkit_task_interpolation.curriculum:TaskInterpolation")

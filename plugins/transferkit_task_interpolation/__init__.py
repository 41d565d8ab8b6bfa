"""Task interpolation: from the source task to the target task in steps. Registration only; see curriculum.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_task_interpolation.coupling import optimal_coupling as optimal_coupling
    from transferkit_task_interpolation.lams import schedule as schedule
    from transferkit_task_interpolation.lams import target_counts as target_counts
    from transferkit_task_interpolation.trajectory import path_length as path_length
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the curriculum `task_interpolation`."""
    register.curriculum("task_interpolation", "transferkit_task_interpolation.curriculum:TaskInterpolation")

"""The interference detector. Registration only; see score.py, threshold.py, refit.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_interference.refit import refitted_head
    from transferkit_interference.score import interference_score
    from transferkit_interference.threshold import conformal_threshold

__all__ = ["conformal_threshold", "interference_score", "refitted_head"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "conformal_threshold": "transferkit_interference.threshold",
        "interference_score": "transferkit_interference.score",
        "refitted_head": "transferkit_interference.refit",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `interference`."""
    register.analyzer("interference", "transferkit_interference.analyzer:InterferenceDetector")

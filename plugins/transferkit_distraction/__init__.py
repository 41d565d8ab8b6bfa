"""Distraction by source memories. Registration only; see overlap.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_distraction.overlap import distraction

__all__ = ["distraction"]

__getattr__ = transferkit.lazy(__name__, {"distraction": "transferkit_distraction.overlap"})


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `distraction`."""
    register.analyzer("distraction", "transferkit_distraction.analyzer:Distraction")

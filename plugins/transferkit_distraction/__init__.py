"""Distraction by source memories. Registration only; see overlap.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_distraction.overlap import distraction as distraction
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `distraction`."""
    register.analyzer("distraction", "transferkit_distraction.analyzer:Distraction")

"""Confusing composites (paper 001, section 2.3). Registration only; see picks.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_confusion.picks import pick_backgrounds as pick_backgrounds
    from transferkit_confusion.picks import pick_overlays as pick_overlays
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `confusion`."""
    register.analyzer("confusion", "transferkit_confusion.analyzer:Confusion")

"""Retention of source classes by head swap. Registration only; read analyzer.py next, or README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_retention.scores import recall as recall
    from transferkit_retention.scores import recall_histogram as recall_histogram
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `retention`."""
    register.analyzer("retention", "transferkit_retention.analyzer:Retention")

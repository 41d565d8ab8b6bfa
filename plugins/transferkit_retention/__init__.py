"""Retention of source classes by head swap. Registration only; see scores.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_retention.scores import recall, recall_histogram

__all__ = ["recall", "recall_histogram"]

__getattr__ = transferkit.lazy(
    __name__, {"recall": "transferkit_retention.scores", "recall_histogram": "transferkit_retention.scores"}
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `retention`."""
    register.analyzer("retention", "transferkit_retention.analyzer:Retention")

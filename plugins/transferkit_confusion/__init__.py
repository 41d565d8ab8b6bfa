"""Confusing composites (paper 001, section 2.3). Registration only; see picks.py, clustered.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_confusion.clustered import clustered_wilson, effective_size
    from transferkit_confusion.picks import pick_backgrounds, pick_overlays

__all__ = ["clustered_wilson", "effective_size", "pick_backgrounds", "pick_overlays"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "clustered_wilson": "transferkit_confusion.clustered",
        "effective_size": "transferkit_confusion.clustered",
        "pick_backgrounds": "transferkit_confusion.picks",
        "pick_overlays": "transferkit_confusion.picks",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `confusion`."""
    register.analyzer("confusion", "transferkit_confusion.analyzer:Confusion")

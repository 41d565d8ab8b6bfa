"""Magnitude pruning that holds while a stage trains. Registration only; see pruning.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_prune.pruning import prunable as prunable
    from transferkit_prune.pruning import smallest_out as smallest_out
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `prune`."""
    register.regularizer("prune", "transferkit_prune.pruning:Prune")

"""Elastic weight consolidation. Registration only; see penalty.py, fisher.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_ewc.fisher import diagonal_fisher as diagonal_fisher
    from transferkit_ewc.penalty import ewc as ewc
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `ewc`."""
    register.regularizer("ewc", "transferkit_ewc.penalty:EWC")

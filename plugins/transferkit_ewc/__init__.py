"""Elastic weight consolidation. Registration only; see penalty.py, fisher.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_ewc.fisher import diagonal_fisher
    from transferkit_ewc.penalty import ewc

__all__ = ["diagonal_fisher", "ewc"]

__getattr__ = transferkit.lazy(
    __name__, {"diagonal_fisher": "transferkit_ewc.fisher", "ewc": "transferkit_ewc.penalty"}
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `ewc`."""
    register.regularizer("ewc", "transferkit_ewc.penalty:EWC")

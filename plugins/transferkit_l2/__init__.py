"""L2: pull the weights towards zero. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_l2.penalty import l2

__all__ = ["l2"]

__getattr__ = transferkit.lazy(__name__, {"l2": "transferkit_l2.penalty"})


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `l2`."""
    register.regularizer("l2", "transferkit_l2.penalty:L2")

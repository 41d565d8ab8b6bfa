"""L2-SP: pull the backbone towards the weights it started from. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_l2_sp.penalty import l2_sp as l2_sp
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `l2_sp`."""
    register.regularizer("l2_sp", "transferkit_l2_sp.penalty:L2SP")

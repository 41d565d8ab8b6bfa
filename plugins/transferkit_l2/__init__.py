"""L2: pull the weights towards zero. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_l2.penalty import l2 as l2
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `l2`."""
    register.regularizer("l2", "transferkit_l2.penalty:L2")

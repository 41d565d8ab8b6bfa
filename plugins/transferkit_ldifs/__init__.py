"""LDIFS: features stay where they were. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_ldifs.penalty import ldifs as ldifs
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `ldifs`."""
    register.regularizer("ldifs", "transferkit_ldifs.penalty:LDIFS")

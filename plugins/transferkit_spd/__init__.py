"""Selective projection decay. Registration only; see projection.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_spd.projection import spd as spd
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `spd`."""
    register.regularizer("spd", "transferkit_spd.projection:SPD")

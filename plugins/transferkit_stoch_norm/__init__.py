"""Stochastic normalisation. Registration only; see adapter.py, layers.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_stoch_norm.layers import stoch_norm as stoch_norm
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the adapter `stoch_norm`."""
    register.adapter("stoch_norm", "transferkit_stoch_norm.adapter:StochNorm")

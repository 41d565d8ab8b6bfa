"""DELTA: keep the feature maps. Registration only; see penalty.py, maps.py, attention.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_delta.maps import attention_weights as attention_weights
    from transferkit_delta.maps import delta as delta
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `delta`."""
    register.regularizer("delta", "transferkit_delta.penalty:Delta")

"""DELTA: keep the feature maps. Registration only; see penalty.py, maps.py, attention.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_delta.maps import attention_weights, delta

__all__ = ["attention_weights", "delta"]

__getattr__ = transferkit.lazy(
    __name__, {"attention_weights": "transferkit_delta.maps", "delta": "transferkit_delta.maps"}
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `delta`."""
    register.regularizer("delta", "transferkit_delta.penalty:Delta")

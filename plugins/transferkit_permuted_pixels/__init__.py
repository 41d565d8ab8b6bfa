"""One fixed shuffle of all pixels. Registration only; see corruption.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_permuted_pixels.corruption import permutation

__all__ = ["permutation"]

__getattr__ = transferkit.lazy(__name__, {"permutation": "transferkit_permuted_pixels.corruption"})


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the corruption `permuted_pixels`."""
    register.corruption("permuted_pixels", "transferkit_permuted_pixels.corruption:PermutedPixels")

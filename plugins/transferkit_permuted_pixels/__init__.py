"""One fixed shuffle of all pixels. Registration only; see corruption.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_permuted_pixels.corruption import permutation as permutation
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the corruption `permuted_pixels`."""
    register.corruption("permuted_pixels", "transferkit_permuted_pixels.corruption:PermutedPixels")

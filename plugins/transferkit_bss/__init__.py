"""Batch Spectral Shrinkage. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_bss.penalty import bss

__all__ = ["bss"]

__getattr__ = transferkit.lazy(__name__, {"bss": "transferkit_bss.penalty"})


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `bss`."""
    register.regularizer("bss", "transferkit_bss.penalty:BSS")

"""Concept erasure. Registration only; see edit.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_leace.edit import folded as folded
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the edit `leace`."""
    register.edit("leace", "transferkit_leace.edit:Leace")

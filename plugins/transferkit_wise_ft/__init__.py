"""Weights between two models. Registration only; see edit.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_wise_ft.edit import between as between
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the edit `wise_ft`."""
    register.edit("wise_ft", "transferkit_wise_ft.edit:WiseFT")

"""Means of models. Registration only; see edit.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_soup.edit import Mean as Mean
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the edit `soup`."""
    register.edit("soup", "transferkit_soup.edit:Soup")

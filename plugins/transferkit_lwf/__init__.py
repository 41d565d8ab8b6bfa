"""LwF: old classes keep the source's answers on new images. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_lwf.penalty import lwf as lwf
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `lwf`."""
    register.regularizer("lwf", "transferkit_lwf.penalty:LwF")

"""What a model forgot whose class list grew. Registration only; read analyzer.py next, or README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_growth.scores import forgetting as forgetting
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `growth`."""
    register.analyzer("growth", "transferkit_growth.analyzer:Growth")

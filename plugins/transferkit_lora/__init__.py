"""LoRA: low-rank changes of layers that stay. Registration only; see adapter.py, layers.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_lora.layers import low_rank as low_rank
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the adapter `lora`."""
    register.adapter("lora", "transferkit_lora.adapter:LoRA")

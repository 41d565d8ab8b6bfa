"""Bias of source classes towards target classes. Registration only; see votes.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_bias.votes import bias as bias
    from transferkit_bias.votes import bias_histogram as bias_histogram
    from transferkit_bias.votes import bias_index as bias_index
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `bias`."""
    register.analyzer("bias", "transferkit_bias.analyzer:Bias")

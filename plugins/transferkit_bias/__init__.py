"""Bias of source classes towards target classes. Registration only; see votes.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_bias.votes import bias, bias_histogram, bias_index

__all__ = ["bias", "bias_histogram", "bias_index"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "bias": "transferkit_bias.votes",
        "bias_histogram": "transferkit_bias.votes",
        "bias_index": "transferkit_bias.votes",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `bias`."""
    register.analyzer("bias", "transferkit_bias.analyzer:Bias")

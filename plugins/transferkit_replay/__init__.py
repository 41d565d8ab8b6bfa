"""Replay: each batch has a share of a few old images. Registration only; see curriculum.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_replay.curriculum import chosen as chosen
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the curriculum `replay`."""
    register.curriculum("replay", "transferkit_replay.curriculum:Replay")

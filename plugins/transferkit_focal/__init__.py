"""Losses that look at hard images. Registration only; see losses.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_focal.losses import asymmetric as asymmetric
    from transferkit_focal.losses import focal as focal
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the losses `focal` and `asymmetric`."""
    register.loss("focal", "transferkit_focal.losses:Focal")
    register.loss("asymmetric", "transferkit_focal.losses:Asymmetric")

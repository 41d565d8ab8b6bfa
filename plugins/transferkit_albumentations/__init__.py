"""Albumentations in the data worker. Registration only; see augmentation.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_albumentations.augmentation import compose as compose
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the augmentation `albumentations`."""
    register.augmentation("albumentations", "transferkit_albumentations.augmentation:Albumentations")

"""Class-coloured squares, or any picture, planted in images. Registration only; see patch.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit.analysis import gate as gate
    from transferkit.analysis import shortcut_reliance as shortcut_reliance
    from transferkit_correlated_patch.choosing import choose as choose
    from transferkit_correlated_patch.colours import patch_colours as patch_colours
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the corruption `correlated_patch`."""
    register.corruption("correlated_patch", "transferkit_correlated_patch.patch:CorrelatedPatch")

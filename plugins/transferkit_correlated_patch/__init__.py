"""Class-coloured squares, or any picture, planted in images. Registration only; see patch.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_correlated_patch.choosing import choose
    from transferkit_correlated_patch.colours import patch_colours
    from transferkit_correlated_patch.measure import gate, shortcut_reliance

__all__ = ["choose", "gate", "patch_colours", "shortcut_reliance"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "choose": "transferkit_correlated_patch.choosing",
        "gate": "transferkit_correlated_patch.measure",
        "patch_colours": "transferkit_correlated_patch.colours",
        "shortcut_reliance": "transferkit_correlated_patch.measure",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the corruption `correlated_patch`."""
    register.corruption("correlated_patch", "transferkit_correlated_patch.patch:CorrelatedPatch")

"""Feature erosion: forgetting, shortcuts, plasticity. Registration only; see measure.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_erosion.measure import forgetting, normalised_forgetting, plasticity

__all__ = ["forgetting", "normalised_forgetting", "plasticity"]

__getattr__ = transferkit.lazy(__name__, dict.fromkeys(__all__, "transferkit_erosion.measure"))


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `erosion`."""
    register.analyzer("erosion", "transferkit_erosion.analyzer:Erosion")

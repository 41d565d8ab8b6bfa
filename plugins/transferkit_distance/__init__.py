"""How far a training moves weights and predictions. Registration only; see observer.py, weights.py, analyzer.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_distance.predictions import fisher_length

__all__ = ["fisher_length"]

__getattr__ = transferkit.lazy(__name__, {"fisher_length": "transferkit_distance.predictions"})


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the observer and the analyzer `distance`."""
    register.observer("distance", "transferkit_distance.observer:Distance")
    register.analyzer("distance", "transferkit_distance.analyzer:Distance")

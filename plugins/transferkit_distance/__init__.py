"""How far a training moves weights and predictions. Registration only; see observer.py, weights.py, analyzer.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_distance.predictions import fisher_length as fisher_length
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the observer and the analyzer `distance`."""
    register.observer("distance", "transferkit_distance.observer:Distance")
    register.analyzer("distance", "transferkit_distance.analyzer:Distance")

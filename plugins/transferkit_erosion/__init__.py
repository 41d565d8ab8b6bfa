"""Feature erosion: forgetting, shortcuts, plasticity. Registration only; read analyzer.py next, or README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_erosion.accuracies import forgetting as forgetting
    from transferkit_erosion.accuracies import normalised_forgetting as normalised_forgetting
    from transferkit_erosion.accuracies import plasticity as plasticity
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `erosion`."""
    register.analyzer("erosion", "transferkit_erosion.analyzer:Erosion")

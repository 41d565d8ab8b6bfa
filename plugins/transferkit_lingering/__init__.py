"""Source-only classes and lingering memories. Registration only; see sets.py, memory.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_lingering.analyzer import Lingering
    from transferkit_lingering.memory import Memories, memories
    from transferkit_lingering.sets import lingering, prevalence, source_only

__all__ = ["Lingering", "Memories", "lingering", "memories", "prevalence", "source_only"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "Lingering": "transferkit_lingering.analyzer",
        "Memories": "transferkit_lingering.memory",
        "lingering": "transferkit_lingering.sets",
        "memories": "transferkit_lingering.memory",
        "prevalence": "transferkit_lingering.sets",
        "source_only": "transferkit_lingering.sets",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `lingering`."""
    register.analyzer("lingering", "transferkit_lingering.analyzer:Lingering")

"""Source-only classes and lingering memories. Registration only; see analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit.analysis import lingering as lingering
    from transferkit.analysis import prevalence as prevalence
    from transferkit.analysis import source_only as source_only
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `lingering`."""
    register.analyzer("lingering", "transferkit_lingering.analyzer:Lingering")

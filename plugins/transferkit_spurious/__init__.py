"""Probes for spurious inputs. Registration only; see local.py, interventions.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_spurious.interventions import intervene as intervene
    from transferkit_spurious.local import lime as lime
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `spurious`."""
    register.analyzer("spurious", "transferkit_spurious.analyzer:Spurious")

"""Probes for spurious inputs. Registration only; see local.py, interventions.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_spurious.interventions import intervene
    from transferkit_spurious.local import lime

__all__ = ["intervene", "lime"]

__getattr__ = transferkit.lazy(
    __name__, {"intervene": "transferkit_spurious.interventions", "lime": "transferkit_spurious.local"}
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `spurious`."""
    register.analyzer("spurious", "transferkit_spurious.analyzer:Spurious")

"""The interference detector. Registration only; see score.py, threshold.py, refit.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_interference.memory import memory_score as memory_score
    from transferkit_interference.refit import refitted_head as refitted_head
    from transferkit_interference.score import interference_score as interference_score
    from transferkit_interference.threshold import conformal_threshold as conformal_threshold
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `interference`, and two detectors for its table."""
    register.detector("source_memory", "transferkit_interference.memory:SourceMemory")
    register.detector("pair", "transferkit_interference.pair:Pair")
    register.analyzer("interference", "transferkit_interference.analyzer:InterferenceDetector")

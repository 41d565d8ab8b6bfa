"""Co-Tuning: the source's classifier trains on. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_co_tuning.measure import fitted_temperature as fitted_temperature
    from transferkit_co_tuning.measure import relationship as relationship
    from transferkit_co_tuning.penalty import co_tuning as co_tuning
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `co_tuning`."""
    register.regularizer("co_tuning", "transferkit_co_tuning.penalty:CoTuning")

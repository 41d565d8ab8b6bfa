"""Suppress what only the source task needs. Registration only; see penalty.py, features.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_unlearn_source.features import active_features as active_features
    from transferkit_unlearn_source.features import source_features as source_features
    from transferkit_unlearn_source.features import source_probability as source_probability
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `unlearn_source`."""
    register.regularizer("unlearn_source", "transferkit_unlearn_source.penalty:UnlearnSource")

"""Suppress what only the source task needs. Registration only; see penalty.py, features.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_unlearn_source.features import active_features, source_features, source_probability

__all__ = ["active_features", "source_features", "source_probability"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "active_features": "transferkit_unlearn_source.features",
        "source_features": "transferkit_unlearn_source.features",
        "source_probability": "transferkit_unlearn_source.features",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `unlearn_source`."""
    register.regularizer("unlearn_source", "transferkit_unlearn_source.penalty:UnlearnSource")

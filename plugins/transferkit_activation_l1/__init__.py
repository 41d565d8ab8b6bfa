"""L1 on activations. Registration only; see penalty.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_activation_l1.penalty import activation_l1 as activation_l1
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the regularizer `activation_l1`."""
    register.regularizer("activation_l1", "transferkit_activation_l1.penalty:ActivationL1")

"""Numbers of an evaluation. Registration only; see scores.py, metrics.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_metrics.scores import auroc as auroc
    from transferkit_metrics.scores import balanced_accuracy as balanced_accuracy
    from transferkit_metrics.scores import ece as ece
    from transferkit_metrics.scores import f1_macro as f1_macro
    from transferkit_metrics.scores import worst_group as worst_group
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the metrics `balanced_accuracy`, `f1_macro`, `auroc`, `ece` and `worst_group`."""
    register.metric("balanced_accuracy", "transferkit_metrics.metrics:BalancedAccuracy")
    register.metric("f1_macro", "transferkit_metrics.metrics:F1Macro")
    register.metric("auroc", "transferkit_metrics.metrics:AUROC")
    register.metric("ece", "transferkit_metrics.metrics:ECE")
    register.metric("worst_group", "transferkit_metrics.metrics:WorstGroup")

"""What transferkit gives to the hooks of FlatLogits, and what it expects: mypy compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit_flat_logits import FlatLogits


def call_fit(plugin: FlatLogits) -> nn.Module:
    """As transferkit calls `fit`."""
    return plugin.fit()


def call_restore(plugin: FlatLogits, tensors: Mapping[str, Tensor]) -> nn.Module:
    """As transferkit calls `restore`."""
    return plugin.restore(tensors=tensors)

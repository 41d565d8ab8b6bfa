"""What transferkit gives to the hooks of SideConvolution, and what it expects: mypy compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn
    from transferkit.model import TransferModel

    from transferkit_side_convolution import SideConvolution


def call_adapt(plugin: SideConvolution, model: TransferModel) -> Mapping[str, nn.Module]:
    """As transferkit calls `adapt`."""
    return plugin.adapt(model=model)

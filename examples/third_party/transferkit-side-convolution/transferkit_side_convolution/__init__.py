"""The adapter `side_convolution`: a trained 1 x 1 convolution beside each of those that stay as they were."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, ClassVar

import transferkit

if TYPE_CHECKING:
    from torch import nn
    from transferkit import Register
    from transferkit.model import TransferModel


@dataclass
class SideConvolution:
    """Train a 1 x 1 convolution beside each of the chosen ones, and the head."""

    layers: str = "*"

    freezes: ClassVar[bool] = True  # whatever is not the adapter's own stays as it is

    def adapt(self, model: TransferModel) -> dict[str, nn.Module]:
        """{layer: what takes its place}."""
        from torch import nn
        from transferkit.model import layers_of

        from transferkit_side_convolution.layer import parallel

        chosen = {name: layer for name, layer in layers_of(model, nn.Conv2d).items() if fnmatch(name, self.layers)}
        return {name: parallel(layer) for name, layer in chosen.items() if all(size % 2 for size in layer.kernel_size)}


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Tell transferkit what this package offers."""
    register.adapter("side_convolution", SideConvolution)

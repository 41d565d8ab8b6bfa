"""StochNorm (Kou et al., NeurIPS 2020) as an adapter: every batch norm of the model, or those that are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import nn

    from transferkit import Stage
    from transferkit.model import TransferModel


@dataclass
class StochNorm:
    """Normalise each channel by the batch's statistics or by the moving ones, as a coin falls, while training."""

    p: Annotated[float, Field(ge=0, le=1, description="how often a channel takes the batch's statistics")] = 0.5
    layers: Annotated[
        list[str] | None, Field(min_length=1, description="glob patterns of batch norms; default: all")
    ] = None

    def check(self, stage: Stage) -> Iterator[str]:
        """Whether batch norm trains at all."""
        if stage.batchnorm == "eval" or stage.freeze == "bitfit":
            said = "batchnorm: eval" if stage.batchnorm == "eval" else "freeze: bitfit"
            yield f"stoch_norm does nothing with {said}, which takes the moving statistics throughout"

    def adapt(self, model: TransferModel) -> dict[str, nn.Module]:
        """The batch norms, each with its own weights and statistics, and the coin."""
        from transferkit.model import layers_of
        from transferkit_stoch_norm.layers import STOCHASTIC, with_coin

        found = layers_of(model, tuple(STOCHASTIC), self.layers)
        return {name: with_coin(layer, self.p) for name, layer in found.items() if layer.running_mean is not None}

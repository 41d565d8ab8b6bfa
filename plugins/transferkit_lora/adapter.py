"""LoRA (Hu et al., ICLR 2022) as an adapter: which layers, and with what options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from transferkit.model import TransferModel


@dataclass
class LoRA:
    """Train a low-rank change of each layer, the layers themselves staying as they are."""

    rank: Annotated[int, Field(ge=1, description="rank of the change")] = 8
    alpha: Annotated[float, Field(gt=0, description="the change is scaled by alpha / rank")] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the input of the change, while training")] = 0.0
    layers: Annotated[
        list[str] | None,
        Field(min_length=1, description="glob patterns of linear and convolution layers; default: see the card"),
    ] = None

    freezes: ClassVar[bool] = True

    def adapt(self, model: TransferModel) -> dict[str, nn.Module]:
        """The chosen layers with a change that is zero. Raises InputError where there are none to choose from."""
        from torch import nn

        from transferkit_lora.layers import with_low_rank

        chosen = self._chosen(model)
        grouped = [name for name, layer in chosen.items() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
        if grouped:
            raise InputError(
                f"lora: {grouped[0]} is a grouped convolution, which has no low rank; leave it out of layers"
            )
        return {name: with_low_rank(one, self.rank, self.alpha, self.dropout) for name, one in chosen.items()}

    def _chosen(self, model: TransferModel) -> dict[str, nn.Linear | nn.Conv2d]:
        from torch import nn

        from transferkit.model import layers_of

        if self.layers is not None:
            return layers_of(model, (nn.Linear, nn.Conv2d), self.layers)
        linear = layers_of(model, nn.Linear)
        if linear:
            return dict(linear)
        images = model.preprocessing.in_chans
        convolutions = layers_of(model, nn.Conv2d)
        return {name: one for name, one in convolutions.items() if one.groups == 1 and one.in_channels != images}

"""DELTA: keep the feature maps of chosen layers close to the reference's (paper 002, Eq. 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import Session
    from transferkit.model import TransferModel


@dataclass
class Delta:
    """Keep the feature maps of chosen layers close to those of the model the stage started from."""

    layers: Annotated[
        list[str] | None, Field(min_length=1, description="layers by name; default: the last stages of the backbone")
    ] = None
    attention: Annotated[
        bool, Field(description="weight channels by how much the loss grows without them, measured once")
    ] = False
    normalise: Annotated[
        Literal["paper", "peer", "mean"],
        Field(description="paper: Eq. 4 as printed; peer: as published code has it; mean: free of batch and map size"),
    ] = "peer"
    form: Annotated[
        Literal["standardised", "literal"],
        Field(description="softmax of the z-score over 5, as published code has it, or of the loss increase itself"),
    ] = "standardised"
    attention_images: Annotated[
        int, Field(ge=1, description="training images on which channels are switched off; more cost more")
    ] = 256
    attention_batch_size: Annotated[int, Field(ge=1, description="images per forward pass of that measurement")] = 64

    _readings: dict[str, Any] = field(init=False, default_factory=dict, repr=False)
    _weights: Any = field(init=False, default=None, repr=False)

    def taps(self, model: TransferModel) -> list[str]:
        """The named layers, or the last stages of the backbone."""
        layers = self.layers or model.default_taps()
        self._readings = {layer: model.reading(layer) for layer in layers}
        return list(self._readings)

    def setup(self, session: Session) -> None:
        """Measure the channel attention, or read it from the cache."""
        if self.attention:
            from transferkit_delta.maps import attention_weights
            from transferkit_delta.measure import measured

            raw = measured(session, self._readings, self.attention_images, self.attention_batch_size)
            self._weights = {
                layer: attention_weights(increase.to(session.device), self.form) for layer, increase in raw.items()
            }

    def penalty(self, taps: Mapping[str, Tensor], reference_taps: Mapping[str, Tensor]) -> Tensor:
        """Ω' of Eq. 4 on this batch."""
        from transferkit_delta.maps import delta

        ours, theirs = (
            {layer: reading.channels_first(maps[layer]) for layer, reading in self._readings.items()}
            for maps in (taps, reference_taps)
        )
        return delta(ours, theirs, self._weights, self.normalise)

"""LDIFS (Mukhoti et al. 2024): the ℓ2 distance in feature space between a model and the one it started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.model import TransferModel

Form = Literal["paper", "unit"]


def ldifs(maps: Mapping[str, Tensor], reference_maps: Mapping[str, Tensor], form: Form = "paper") -> Tensor:
    """A distance between the layers' outputs (n, C, …) and the reference's, a mean over the n images; a scalar.

    * `paper`: Σ over layers of ‖φ(x) − φ⁰(x)‖², over channels and positions;
    * `unit`: as published code has it: each position's channels divided by their norm, the mean of the squared
      differences over channels and positions, and the mean over layers.

    Raises KeyError for a layer that the reference lacks, ValueError where the shapes differ.
    """
    import torch
    from torch.nn.functional import normalize

    terms = []
    for layer, ours in maps.items():
        theirs = reference_maps[layer].detach()
        if ours.shape != theirs.shape:
            raise ValueError(f"ldifs: layer {layer!r} gives {tuple(ours.shape)}, its reference {tuple(theirs.shape)}")
        if form == "paper":
            terms.append((ours - theirs).square().sum() / max(len(ours), 1))
        else:
            terms.append((normalize(ours, dim=1) - normalize(theirs, dim=1)).square().mean() / len(maps))
    return torch.stack(terms).sum() if terms else torch.zeros(())


@dataclass
class LDIFS:
    """Keep the outputs of chosen layers near those of the model the stage started from."""

    layers: Annotated[
        list[str] | None, Field(min_length=1, description="layers by name; default: the last stages of the backbone")
    ] = None
    form: Annotated[
        Form, Field(description="paper: the squared distance; unit: of unit vectors, a mean, as published code has it")
    ] = "paper"
    _readings: dict[str, Any] = field(init=False, default_factory=dict, repr=False)

    def taps(self, model: TransferModel) -> list[str]:
        """The named layers, or the last stages of the backbone."""
        self._readings = {layer: model.reading(layer) for layer in self.layers or model.default_taps()}
        return list(self._readings)

    def penalty(self, taps: Mapping[str, Tensor], reference_taps: Mapping[str, Tensor]) -> Tensor:
        """The distance of this batch."""
        ours, theirs = (
            {layer: reading.channels_first(maps[layer]) for layer, reading in self._readings.items()}
            for maps in (taps, reference_taps)
        )
        return ldifs(ours, theirs, self.form)

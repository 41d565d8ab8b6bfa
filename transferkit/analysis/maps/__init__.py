"""Class-activation maps of any timm model at the price of a forward pass: where in an image a class was seen."""

from __future__ import annotations

from transferkit.analysis.maps.activation import ActivationMaps, MapsOutput, Wanted, upsample

__all__ = ["ActivationMaps", "MapsOutput", "Wanted", "upsample"]

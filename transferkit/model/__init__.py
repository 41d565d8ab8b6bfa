"""One timm model, its heads, features and taps: what is trained, referenced, saved and opened."""

from __future__ import annotations

from transferkit.model import nets
from transferkit.model.creation import build
from transferkit.model.preprocessing import Preprocessing
from transferkit.model.taps import default_taps, tap_channels
from transferkit.model.wrapper import Output, SourceHead, TransferModel, reference_of

__all__ = [
    "Output",
    "Preprocessing",
    "SourceHead",
    "TransferModel",
    "build",
    "default_taps",
    "nets",
    "reference_of",
    "tap_channels",
]

"""What analyzers stand on: sessions, cached predictions, class-activation maps, composites, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit import lazy

if TYPE_CHECKING:
    from transferkit.analysis.composites import Composite, Composites, mean_colour
    from transferkit.analysis.maps import ActivationMaps, MapsOutput, Wanted, upsample
    from transferkit.analysis.placement import place_overlay
    from transferkit.analysis.predictions import Predictions
    from transferkit.analysis.session import AnalysisSession

_HOMES = {
    "ActivationMaps": "transferkit.analysis.maps",
    "AnalysisSession": "transferkit.analysis.session",
    "Composite": "transferkit.analysis.composites",
    "Composites": "transferkit.analysis.composites",
    "MapsOutput": "transferkit.analysis.maps",
    "Predictions": "transferkit.analysis.predictions",
    "Wanted": "transferkit.analysis.maps",
    "mean_colour": "transferkit.analysis.composites",
    "place_overlay": "transferkit.analysis.placement",
    "upsample": "transferkit.analysis.maps",
}

__all__ = [
    "ActivationMaps",
    "AnalysisSession",
    "Composite",
    "Composites",
    "MapsOutput",
    "Predictions",
    "Wanted",
    "mean_colour",
    "place_overlay",
    "upsample",
]

__getattr__ = lazy(__name__, _HOMES)

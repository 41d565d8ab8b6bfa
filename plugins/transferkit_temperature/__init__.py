"""Temperature scaling (Guo et al. 2017). Registration only; see scaling.py, analyzer.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_temperature.scaling import calibration_error as calibration_error
    from transferkit_temperature.scaling import classwise_error as classwise_error
    from transferkit_temperature.scaling import cross_fitted as cross_fitted
    from transferkit_temperature.scaling import fit_temperature as fit_temperature
    from transferkit_temperature.scaling import losses as losses
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `temperature`."""
    register.analyzer("temperature", "transferkit_temperature.analyzer:TemperatureScaling")

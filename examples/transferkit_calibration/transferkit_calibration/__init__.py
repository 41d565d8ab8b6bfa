"""Calibration. Registration only; see analyzer.py and the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_calibration.scores import calibration_error

__all__ = ["calibration_error"]

__getattr__ = transferkit.lazy(__name__, {"calibration_error": "transferkit_calibration.scores"})


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `calibration`."""
    register.analyzer("calibration", "transferkit_calibration.analyzer:Calibration")

"""Spectra of weights and features, and truncated features. Registration only; see angles.py, features.py, tsvd.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_spectrum.angles import corresponding_angles as corresponding_angles
    from transferkit_spectrum.features import feature_spectrum as feature_spectrum
    from transferkit_spectrum.tsvd import truncate as truncate
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `spectrum` and the regularizer `tsvd`."""
    register.analyzer("spectrum", "transferkit_spectrum.analyzer:Spectrum")
    register.regularizer("tsvd", "transferkit_spectrum.tsvd:TSVD")

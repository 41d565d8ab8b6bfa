"""Spectra of weights and features, and truncated features. Registration only; see angles.py, features.py, tsvd.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_spectrum.angles import corresponding_angles
    from transferkit_spectrum.features import feature_spectrum
    from transferkit_spectrum.tsvd import truncate

__all__ = ["corresponding_angles", "feature_spectrum", "truncate"]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "corresponding_angles": "transferkit_spectrum.angles",
        "feature_spectrum": "transferkit_spectrum.features",
        "truncate": "transferkit_spectrum.tsvd",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `spectrum` and the regularizer `tsvd`."""
    register.analyzer("spectrum", "transferkit_spectrum.analyzer:Spectrum")
    register.regularizer("tsvd", "transferkit_spectrum.tsvd:TSVD")

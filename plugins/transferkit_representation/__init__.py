"""What a stage did to representations. Registration only; see similarity.py, spectra.py, probes.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit.registry import Register
    from transferkit_representation.probes import ridge_probe
    from transferkit_representation.similarity import MinibatchCKA, cka
    from transferkit_representation.spectra import entropy_rank, numerical_rank, participation_ratio, stable_rank

__all__ = [
    "MinibatchCKA",
    "cka",
    "entropy_rank",
    "numerical_rank",
    "participation_ratio",
    "ridge_probe",
    "stable_rank",
]

__getattr__ = transferkit.lazy(
    __name__,
    {
        "MinibatchCKA": "transferkit_representation.similarity",
        "cka": "transferkit_representation.similarity",
        "entropy_rank": "transferkit_representation.spectra",
        "numerical_rank": "transferkit_representation.spectra",
        "participation_ratio": "transferkit_representation.spectra",
        "ridge_probe": "transferkit_representation.probes",
        "stable_rank": "transferkit_representation.spectra",
    },
)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `representation`."""
    register.analyzer("representation", "transferkit_representation.analyzer:Representation")

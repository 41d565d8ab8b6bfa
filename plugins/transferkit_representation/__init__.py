"""What a stage did to representations. Registration only; see similarity.py, spectra.py, probes.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_representation.probes import ridge_probe as ridge_probe
    from transferkit_representation.similarity import MinibatchCKA as MinibatchCKA
    from transferkit_representation.similarity import cka as cka
    from transferkit_representation.spectra import entropy_rank as entropy_rank
    from transferkit_representation.spectra import numerical_rank as numerical_rank
    from transferkit_representation.spectra import participation_ratio as participation_ratio
    from transferkit_representation.spectra import stable_rank as stable_rank
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `representation`."""
    register.analyzer("representation", "transferkit_representation.analyzer:Representation")

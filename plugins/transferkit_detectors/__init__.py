"""Detectors that others published, and a kernel map. Registration only; README.md has what each is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_detectors.activations import ash as ash
    from transferkit_detectors.activations import react as react
    from transferkit_detectors.activations import scale as scale
    from transferkit_detectors.boundaries import fdbd as fdbd
    from transferkit_detectors.boundaries import nci as nci
    from transferkit_detectors.confidence import energy as energy
    from transferkit_detectors.confidence import entropy as entropy
    from transferkit_detectors.confidence import gen as gen
    from transferkit_detectors.confidence import max_logit as max_logit
    from transferkit_detectors.confidence import msp as msp
    from transferkit_detectors.distances import mahalanobis as mahalanobis
    from transferkit_detectors.distances import mahalanobis_pp as mahalanobis_pp
    from transferkit_detectors.distances import nearest as nearest
    from transferkit_detectors.distances import relative_mahalanobis as relative_mahalanobis
    from transferkit_detectors.guidance import nnguide as nnguide
    from transferkit_detectors.kernel import kernel_map as kernel_map
    from transferkit_detectors.subspace import vim as vim
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the detectors."""
    register.detector("msp", "transferkit_detectors.confidence:MSP")
    register.detector("max_logit", "transferkit_detectors.confidence:MaxLogit")
    register.detector("energy", "transferkit_detectors.confidence:Energy")
    register.detector("entropy", "transferkit_detectors.confidence:Entropy")
    register.detector("gen", "transferkit_detectors.confidence:GEN")
    register.detector("mahalanobis", "transferkit_detectors.distances:Mahalanobis")
    register.detector("relative_mahalanobis", "transferkit_detectors.distances:RelativeMahalanobis")
    register.detector("mahalanobis_pp", "transferkit_detectors.distances:MahalanobisPP")
    register.detector("knn", "transferkit_detectors.distances:KNN")
    register.detector("vim", "transferkit_detectors.subspace:ViM")
    register.detector("react", "transferkit_detectors.activations:ReAct")
    register.detector("ash", "transferkit_detectors.activations:ASH")
    register.detector("scale", "transferkit_detectors.activations:SCALE")
    register.detector("fdbd", "transferkit_detectors.boundaries:FDBD")
    register.detector("nci", "transferkit_detectors.boundaries:NCI")
    register.detector("nnguide", "transferkit_detectors.guidance:NNGuide")
    register.detector("kernel_map", "transferkit_detectors.kernel:KernelMap")

"""What a detector is fitted on: what the models made of target and source images, and what is known of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from transferkit.data.randomness import numpy_rng
from transferkit.model.wrapper import SourceHead, TransferModel


@dataclass(frozen=True)
class Observed:
    """What the models made of the same n images, on the CPU."""

    features: Tensor
    """(n, d) float32 of M^t."""
    logits: Tensor
    """(n, K) float64 of M^t."""
    taps: Mapping[str, Tensor]
    """{layer: (n, C)} float32 of M^t, averaged over positions."""
    labels: Tensor
    """(n,) int64, classes of the data set."""
    source_features: Tensor
    """(n, d_s) float32 of M^s."""

    def __len__(self) -> int:
        return len(self.features)

    def with_layers(self, names: Sequence[str]) -> Observed:
        """The same with these layers alone."""
        return replace(self, taps={name: self.taps[name] for name in names})


@dataclass(frozen=True)
class DetectorSession:
    """What a detector is fitted on. Nothing here is among the images that calibrate or judge it."""

    model: TransferModel
    """M^t, frozen."""
    head: SourceHead
    """H(M^t): the target's classifier."""
    source_head: SourceHead
    """H(M^s): the source's classifier, on M^s's features."""
    train: Observed
    """The target's training images."""
    source: Observed
    """Source images."""
    lingering: Tensor
    """(m,) int64: the lingering classes, as indices into `source_classes`."""
    seed: int
    clean: Observed | None = None
    """Clean target images that the model was not trained on, for a detector that says `needs_clean = True`."""

    @property
    def source_classes(self) -> list[str]:
        """The names of all K_s source classes."""
        return self.source_head.classes

    def rng(self, *parts: str | int) -> np.random.Generator:
        """A generator that depends on the seed and `parts` alone."""
        return numpy_rng(self.seed, "detector", *parts)

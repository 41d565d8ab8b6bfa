"""The layers of two models side by side: angles of every convolution and linear layer but the classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from transferkit.errors import InputError, did_you_mean
from transferkit_spectrum.angles import Comparison
from transferkit_spectrum.features import smaller_half

if TYPE_CHECKING:
    from transferkit.model import TransferModel

LOWER, HIGHER = 4, 3  # the layers of figure 1b: the first one and three of the first block, three of the last


@dataclass(frozen=True)
class Layer:
    """One layer's weight in both models."""

    name: str
    shape: tuple[int, ...]
    found: Comparison

    @property
    def chance(self) -> float:
        """The mean absolute cosine of two independent random directions of as many outputs."""
        outputs = self.shape[0]
        return math.exp(math.lgamma(outputs / 2) - math.lgamma((outputs + 1) / 2)) / math.sqrt(math.pi)

    def mean(self, part: slice = slice(None)) -> float:
        """The mean cosine over directions that are determined; NaN where there are none."""
        values = self.found.cosines[part]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    @property
    def masked(self) -> int:
        """How many directions are not determined."""
        return int(self.found.masked.sum())

    @property
    def larger_half(self) -> float:
        """The mean cosine over the larger half of the singular values."""
        return self.mean(slice(0, smaller_half(len(self.found.cosines))))

    @property
    def smaller_half(self) -> float:
        """The mean cosine over the smaller half; NaN for a layer with one direction."""
        return self.mean(slice(smaller_half(len(self.found.cosines)), None))

    @property
    def principal(self) -> float:
        """The root mean square cosine of the principal angles between the larger halves; NaN if not determined."""
        return float(np.sqrt((self.found.principal**2).mean())) if len(self.found.principal) else float("nan")

    @property
    def principal_least(self) -> float:
        """The cosine of the largest of these angles; NaN if not determined."""
        return float(self.found.principal.min()) if len(self.found.principal) else float("nan")

    @property
    def principal_chance(self) -> float:
        """The same for two independent random subspaces: the root of their dimension over that of the whole."""
        return math.sqrt(smaller_half(len(self.found.cosines)) / self.shape[0])


def weights(model: TransferModel, patterns: Sequence[str] = ()) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers but the head, by layer, in the model's order.

    Raises InputError for a pattern that no layer has.
    """
    found = {
        name: module.weight
        for name, module in model.net.named_modules()
        if isinstance(module, nn.Linear | _ConvNd) and not isinstance(module, _ConvTransposeNd)
        if module is not model.head
    }
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise InputError(f'no layer is called "{pattern}"; {did_you_mean(pattern, list(found)) or "see the model"}')
    if not patterns:
        return found
    return {name: w for name, w in found.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def mean_over(layers: Sequence[Layer], of: Callable[[Layer], float]) -> float:
    """The mean over the layers that have a value, each counting once; NaN where none has."""
    values = [value for value in map(of, layers) if math.isfinite(value)]
    return sum(values) / len(values) if values else math.nan


def relative_distance(layers: Sequence[Layer]) -> float:
    """‖W − W⁰‖ / ‖W⁰‖ of all weights together; NaN without layers, and for W⁰ = 0."""
    moved, length = (math.hypot(*(layer.found.norms[part] for layer in layers)) for part in (0, 1))
    return moved / length if length else math.nan


def shown(layers: Sequence[Layer]) -> tuple[list[Layer], list[Layer]]:
    """The lower and the higher layers of figure 1b: the first four and the last three, each once."""
    return list(layers[:LOWER]), list(layers[max(LOWER, len(layers) - HIGHER) :])


def binned(cosines: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """(n,) cosines -> (bins,) means over equal parts of the index; a part without a direction takes the nearest.

    NaN where no direction of a part is determined.
    """
    size = len(cosines)
    edges = np.arange(bins + 1) * size / bins
    result = np.full(bins, np.nan)
    for i in range(bins):
        low = min(int(edges[i]), size - 1)
        part = cosines[low : max(math.ceil(edges[i + 1] - 1e-9), low + 1)]
        if np.isfinite(part).any():
            result[i] = np.nanmean(part)
    return result

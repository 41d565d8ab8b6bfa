"""The layers of two models side by side: angles of every convolution and linear layer but the classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from transferkit.errors import InputError
from transferkit.suggest import did_you_mean
from transferkit_spectrum.angles import Comparison, Match, compare
from transferkit_spectrum.features import smaller_half

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
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


def measure_layers(session: AnalysisSession, patterns: Sequence[str], match: Match, gaps: list[str]) -> list[Layer]:
    """Every layer that both models have in one shape; what could not be compared goes into `gaps`."""
    if not session.has("source"):
        gaps.append("There is no source model, so no weights to compare with: the training began from scratch.")
        return []
    now, start = weights(session.model("target"), patterns), weights(session.model("source"))
    common = [name for name, weight in now.items() if name in start and start[name].shape == weight.shape]
    if len(common) < len(now):
        rest = [name for name in now if name not in common]
        gaps.append(
            f"{len(rest)} of {len(now)} layers have no counterpart of the same shape in the source model and are left "
            f"out: {_few(rest)}."
        )
    found = []
    with session.progress(len(common), "singular vectors of the weights") as bar:
        for name in common:
            try:
                found.append(Layer(name, tuple(now[name].shape), compare(now[name], start[name], match)))
            except ValueError as error:
                gaps.append(f"The layer {name} is left out: {error}.")
            bar.advance(1)
    return found


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def shown(layers: Sequence[Layer]) -> tuple[list[Layer], list[Layer]]:
    """The lower and the higher layers of figure 1b: the first four and the last three, each once."""
    lower = list(layers[:LOWER])
    return lower, list(layers[max(len(lower), len(layers) - HIGHER) :])


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

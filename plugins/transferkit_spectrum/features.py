"""Singular values of batches of features (paper 002, Eq. 7), averaged over batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit_spectrum.angles import wide_type


def feature_spectrum(features: Tensor) -> Tensor:
    """The singular values of the (b, d) matrix, (min(b, d),) float64, descending; not centred, as BSS sees it.

    Raises ValueError for what is no finite floating-point matrix.
    """
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"features are a floating-point matrix (images, features), not {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("the features have values that are NaN or infinite, so they have no spectrum")
    values: Tensor = torch.linalg.svdvals(features.detach().to(wide_type(features.device)))
    return values


def batch_spectra(features: Tensor, order: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """(n, d) features, an order of them, a batch size -> (batches, min(size, d)) singular values, descending.

    Full batches only: what is left over at the end is dropped. Fewer than `size` images give no row.
    """
    batches = len(order) // size
    width = min(size, features.shape[1])
    chosen = torch.from_numpy(order[: batches * size]).reshape(batches, size)
    found = [feature_spectrum(features[rows]).cpu().numpy() for rows in chosen]
    return np.stack(found) if found else np.empty((0, width))


def smaller_half(size: int) -> int:
    """Where the smaller half of so many values begins: ceil(size / 2)."""
    return math.ceil(size / 2)


def energy_share(spectra: NDArray[np.float64], part: slice) -> float:
    """The share of the squared singular values in `part` of each row, averaged over rows; NaN without energy."""
    return float(energy_shares(spectra, part).mean()) if len(spectra) else math.nan


def energy_shares(spectra: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
    """(batches, n) -> (batches,): the share of the squared singular values in `part`; NaN without energy."""
    energy = spectra**2
    total = energy.sum(axis=1)
    return np.asarray(energy[:, part].sum(axis=1) / np.where(total > 0, total, np.nan))

"""Attraction: how many of the target's images are taken for the class that the ball stood for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def attraction_rate(predictions: Tensor, treated: int) -> float:
    """(n,) predictions of a shared head on target images with the ball -> the share that is the treated label.

    NaN without images. Leave images of a target class with that same label out: they are right to be predicted so.
    Raises ValueError for predictions that are not (n,).
    """
    import torch

    predicted = torch.as_tensor(predictions)
    if predicted.ndim != 1:
        raise ValueError(f"attraction_rate: predictions must be of shape (n,), not {tuple(predicted.shape)}")
    if not len(predicted):
        return float("nan")
    return float((predicted == treated).double().mean())

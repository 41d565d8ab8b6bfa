"""What a model makes of planted patches: does it follow the patch, and is the patch learned at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def shortcut_reliance(predictions: Tensor, labels: Tensor, shift: int, num_classes: int) -> float:
    """P(prediction = the square's class | conflict): the share of images that are taken for what their square says.

    (n,) predicted and true classes of images whose square is that of class (y + shift) mod K. NaN without images.
    Raises ValueError where square and image agree (a shift that is a multiple of K), for labels outside 0..K-1, and
    for different lengths. Predictions may be of a wider head than K.
    """
    import torch

    predicted, true = torch.as_tensor(predictions), torch.as_tensor(labels)
    if num_classes < 1 or shift % num_classes == 0:
        raise ValueError(f"shortcut_reliance: with shift {shift} and {num_classes} classes nothing is in conflict")
    if predicted.shape != true.shape or true.ndim != 1:
        raise ValueError(
            f"shortcut_reliance: predictions {tuple(predicted.shape)} and labels {tuple(true.shape)} must both be (n,)"
        )
    if not len(true):
        return float("nan")
    if int(true.min()) < 0 or int(true.max()) >= num_classes:
        raise ValueError(f"shortcut_reliance: there are labels outside 0..{num_classes - 1}")
    squares = (true.long() + shift) % num_classes
    return float((predicted.to(true.device).long() == squares).double().mean())


def gate(recall_with: float, recall_without: float) -> float:
    """The recall of the treated class on images with the mark, minus that on the same images without it.

    About zero: the model did not learn the mark, and no number about its transfer means anything. Negative: the mark
    distracts. NaN stays NaN. Raises ValueError for a recall outside 0..1.
    """
    for recall in (recall_with, recall_without):
        if recall < 0 or recall > 1:
            raise ValueError(f"gate: a recall lies between 0 and 1, not {recall}")
    return float(recall_with) - float(recall_without)

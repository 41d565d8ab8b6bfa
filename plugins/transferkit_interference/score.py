"""Equation 5 of paper 000 without its threshold: how strongly an input activates lingering source classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from transferkit.analysis import class_ids

ROWS = 4096


def interference_score(source_logits: Tensor, lingering: Tensor, reduction: Literal["max", "sum"] = "max") -> Tensor:
    """The probability of the lingering classes under the source's head. (n, K) logits -> (n,) within 0..1.

    The softmax runs over all K source classes, in float64; `max` takes the most probable class of `lingering`
    (class ids), `sum` adds them up. No lingering class gives zeros. Returns the logits' dtype, float32 for half
    types. Raises ValueError for another shape, for logits without a softmax (NaN, +inf) and for ids out of range.
    """
    if source_logits.ndim != 2:
        raise ValueError(f"interference_score needs logits (images, classes), not {tuple(source_logits.shape)}")
    if reduction not in ("max", "sum"):
        raise ValueError(f'interference_score: the reduction is "max" or "sum", not {reduction!r}')
    what = "interference_score: the lingering classes"
    ids = torch.unique(class_ids(lingering, source_logits.shape[1], what, source_logits.device))
    result = torch.promote_types(source_logits.dtype, torch.float32)
    scores = [_score(part, ids, reduction) for part in torch.split(source_logits, ROWS)]
    return torch.cat(scores).to(result)


def _score(logits: Tensor, lingering: Tensor, reduction: str) -> Tensor:
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    probabilities = logits.to(wide).softmax(dim=1)
    if bool(probabilities.isnan().any()):
        raise ValueError("interference_score: some logits are NaN or infinite; the model or the input is broken")
    chosen = probabilities[:, lingering]
    if reduction == "sum" or lingering.numel() == 0:
        return chosen.sum(dim=1).clamp(max=1)
    return chosen.amax(dim=1)

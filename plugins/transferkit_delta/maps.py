"""DELTA's arithmetic (paper 002, Eq. 4): distances between feature maps, and channel attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

Normalise = Literal["paper", "peer", "mean"]
Form = Literal["standardised", "literal"]


def delta(
    maps: Mapping[str, Tensor],
    reference_maps: Mapping[str, Tensor],
    attention: Mapping[str, Tensor] | None = None,
    normalise: Normalise = "paper",
) -> Tensor:
    """Weighted squared distance between feature maps and the reference's: Ω' of Eq. 4, without its strength γ.

    `maps` and `reference_maps`: {layer: (b, C, …)}; `attention`: {layer: (C,)}, or None for no weighting.

    * `paper`: Σ over layers of Σ a·‖map − reference‖², summed over images, channels and positions;
    * `peer`: as published code has it: ½·(C/HW)·Σ a·‖…‖² with attention, ½·Σ‖…‖² without;
    * `mean`: Σ over layers of the mean over all elements; with attention Σ_c a_c · (mean over images and positions).

    Layers are matched by name: one that is missing on any side raises KeyError, different shapes ValueError.
    The reference is a constant. The result is float32 for half types, otherwise in the maps' dtype.
    """
    if normalise not in get_args(Normalise):
        raise ValueError(f"delta: normalise is one of {', '.join(get_args(Normalise))}, not {normalise!r}")
    _require(maps, reference_maps, "the reference's maps")
    _require(reference_maps, maps, "the model's maps")
    if attention is not None:
        _require(maps, attention, "the attention")
    terms = [
        _layer(layer, map_, reference_maps[layer], None if attention is None else attention[layer], normalise)
        for layer, map_ in maps.items()
    ]
    return torch.stack([term.to(terms[0].device) for term in terms]).sum() if terms else torch.zeros(())


def _require(layers: Iterable[str], there: Mapping[str, Tensor], where: str) -> None:
    for layer in layers:
        if layer not in there:
            raise KeyError(f"delta: layer {layer!r} is missing from {where}: {', '.join(there) or 'none at all'}")


def _layer(layer: str, map_: Tensor, reference: Tensor, weights: Tensor | None, normalise: Normalise) -> Tensor:
    if map_.shape != reference.shape or map_.ndim < 2:
        raise ValueError(
            f"delta: layer {layer!r} has a map of shape {tuple(map_.shape)}, its reference {tuple(reference.shape)}; "
            "both must be (images, channels, …) and equal"
        )
    channels, positions = map_.shape[1], math.prod(map_.shape[2:])
    if map_.dtype.itemsize < 4:
        map_ = map_.float()
    reference = reference.detach().to(map_.dtype)
    if weights is None:
        return _unweighted(map_, reference, normalise)
    if weights.shape != (channels,):
        raise ValueError(f"delta: layer {layer!r} has {channels} channels, its attention shape {tuple(weights.shape)}")
    per_channel = (map_ - reference).square().sum(dim=[axis for axis in range(map_.ndim) if axis != 1])
    total = (per_channel * weights.to(per_channel)).sum()
    if normalise == "paper":
        return total
    if normalise == "peer":
        return 0.5 * channels / positions * total
    return total / (map_.shape[0] * positions)


def _unweighted(map_: Tensor, reference: Tensor, normalise: Normalise) -> Tensor:
    if normalise == "mean":
        return mse_loss(map_, reference)
    total = mse_loss(map_, reference, reduction="sum")
    return total if normalise == "paper" else 0.5 * total


def attention_weights(loss_increase: Tensor, form: Form = "standardised") -> Tensor:
    """Channel attention from how much the loss grows without each channel: (C,) -> (C,), sums to 1.

    * `standardised`: softmax(z/5), z the z-score with the population's standard deviation, as DELTA was published;
    * `literal`: softmax of the loss increase itself, as the papers print it (nearly uniform in practice).

    A constant input gives uniform weights. Raises ValueError on anything but a finite vector.
    """
    if form not in get_args(Form):
        raise ValueError(f"attention_weights: form is one of {', '.join(get_args(Form))}, not {form!r}")
    if loss_increase.ndim != 1 or not loss_increase.numel() or not loss_increase.isfinite().all():
        raise ValueError(
            "attention_weights needs one finite loss increase per channel, not a tensor of shape "
            f"{tuple(loss_increase.shape)} with {int((~loss_increase.isfinite()).sum())} NaN or infinite values"
        )
    result = torch.promote_types(loss_increase.dtype, torch.float32)
    if loss_increase.max() == loss_increase.min():
        return torch.full_like(loss_increase, 1.0 / loss_increase.numel(), dtype=result)
    raw = loss_increase if loss_increase.device.type == "mps" else loss_increase.double()
    if form == "standardised":
        centred = raw - raw.mean()
        raw = centred / centred.square().mean().sqrt() / 5.0
    return raw.softmax(dim=0).to(result)

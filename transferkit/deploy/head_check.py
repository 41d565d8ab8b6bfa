"""Whether a detector's head is a head, and of the width of the model's features: from file headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transferkit.atomic import read_json
from transferkit.errors import InputError
from transferkit.safetensors_header import TensorInfo, read_header

FLOATS = ("F64", "F32", "F16", "BF16")


def check_head(folder: Path, name: str, classes: int) -> None:
    """Raise InputError unless the file holds `weight` (classes, features) and, if any, `bias` (classes,).

    The width is compared with the model's classifier where timm names it; `Guarded` compares it with the model.
    """
    path = folder / name
    tensors = read_header(path)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or len(weight.shape) != 2 or set(tensors) - {"weight", "bias"}:
        raise InputError(f"{path}: a head has a tensor `weight` of shape (classes, features) and at most a `bias`")
    if weight.shape[0] != classes:
        raise InputError(f"{path}: a head for {weight.shape[0]} classes, where interference.json names {classes}")
    if bias is not None and bias.shape != (classes,):
        raise InputError(f"{path}: its bias has the shape {list(bias.shape)} instead of [{classes}]")
    if any(tensor.dtype not in FLOATS for tensor in tensors.values()):
        raise InputError(f"{path}: a head's tensors are floating-point numbers")
    own = _classifier(folder)
    if own is not None and len(own.shape) >= 2 and own.shape[1] != weight.shape[1]:
        raise InputError(f"{path}: a head for {weight.shape[1]} features does not fit a model with {own.shape[1]}")


def _classifier(folder: Path) -> TensorInfo | None:
    """The shape of the model's own classifier, where its configuration says what it is called."""
    try:
        content: dict[str, Any] = read_json(folder / "config.json")
        name = content["pretrained_cfg"]["classifier"]
    except (InputError, KeyError, TypeError):
        return None  # the hashes and opening the model say what is wrong
    return read_header(folder / "model.safetensors").get(f"{name}.weight")

"""What a model is, as hashes of its content: weights, architecture, preprocessing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from transferkit.model.wrapper import SourceHead, TransferModel


def backbone_digest(model: TransferModel) -> str:
    """A hash of all that the features depend on: everything but the classifier, and the preprocessing."""
    head = {id(tensor) for tensor in model.head.parameters()}
    named = {name: tensor for name, tensor in model.net.state_dict(keep_vars=True).items() if id(tensor) not in head}
    facts = [model.architecture, model.options, model.preprocessing.to_json()]
    return _hash(json.dumps(facts, sort_keys=True, default=str), named.items())


def head_digest(head: SourceHead) -> str:
    """A hash of a classifier's weight and bias."""
    bias = [] if head.bias is None else [("bias", head.bias)]
    return _hash("head", [("weight", head.weight), *bias])


def model_digest(model: TransferModel) -> str:
    """A hash of the whole model."""
    return _hash(backbone_digest(model), model.head.state_dict().items())


def _hash(start: str, tensors: Iterable[tuple[str, Any]]) -> str:
    digest = blake2b(start.encode(), digest_size=16)
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data

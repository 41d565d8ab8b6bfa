"""What a model is, as hashes of its content: weights, architecture, preprocessing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b, sha256
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
    return _hash("head", head.tensors().items())


def model_digest(model: TransferModel) -> str:
    """A hash of the whole model."""
    return _hash(backbone_digest(model), model.head.state_dict().items())


def weights_sha256(model: TransferModel) -> str:
    """The SHA-256 of all weights and buffers in the order of their names, where no file's can be given."""
    return tensors_digest(sorted(model.net.state_dict().items()), sha256())


def tensors_digest(tensors: Iterable[tuple[str, Tensor]], digest: Any) -> str:
    """What `digest`, one of hashlib's, comes to with names, shapes, dtypes and bytes of the tensors, in hexadecimal."""
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    found: str = digest.hexdigest()
    return found


def _hash(start: str, tensors: Iterable[tuple[str, Any]]) -> str:
    return tensors_digest(tensors, blake2b(start.encode(), digest_size=16))

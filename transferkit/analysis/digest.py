"""What a result depends on, as hashes of content: weights, preprocessing, pixels as they lie on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.data.samples import Samples
from transferkit.model import SourceHead, TransferModel

THREADS = 4
CHUNK = 1 << 20


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


def samples_digest(samples: Samples) -> str:
    """A hash of the chosen images: the bytes of their files where there are files, never names or times.

    Where corruptions are planted, also of what they depend on.
    """
    digest = blake2b(digest_size=16)
    paths = samples.source.contents.paths
    if paths is None:
        digest.update(samples.source.fingerprint().encode())
        digest.update(np.ascontiguousarray(samples.chosen, dtype="<i8").tobytes())
    else:
        files = [paths[int(samples.source.kept[index])] for index in samples.chosen]
        with ThreadPoolExecutor(THREADS) as pool:
            for one in pool.map(_file, files):
                digest.update(one)
    if samples.corruptions:
        digest.update(samples.fingerprint().encode())
    return digest.hexdigest()


def _file(path: str) -> bytes:
    digest = blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError:
        digest.update(b"unreadable")  # reading the image says why
    return digest.digest()


def _hash(start: str, tensors: Iterable[tuple[str, Any]]) -> str:
    digest = blake2b(start.encode(), digest_size=16)
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data

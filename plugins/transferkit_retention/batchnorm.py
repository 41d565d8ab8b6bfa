"""Whose batch-norm statistics a fine-tuned backbone uses: its own, the source's, or ones estimated afresh."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from transferkit.analysis import AnalysisSession
from transferkit.errors import InputError
from transferkit.model import TransferModel

BATCH_SIZE = 64
STATISTICS = ("running_mean", "running_var")


def batch_norms(model: TransferModel) -> dict[str, _BatchNorm]:
    """The layers with running statistics, by name."""
    return {
        name: layer
        for name, layer in model.net.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def with_statistics(model: TransferModel, statistics: dict[str, Tensor]) -> TransferModel:
    """A frozen copy in eval mode with these running statistics; the model stays as it is."""
    changed = copy.deepcopy(model).requires_grad_(False).eval()
    for name, layer in batch_norms(changed).items():
        for kind in STATISTICS:
            getattr(layer, kind).copy_(statistics[f"{name}.{kind}"])
    return changed


def source_statistics(session: AnalysisSession) -> dict[str, Tensor]:
    """M^s's running statistics under the names of M^t's layers. Raises InputError where layers do not match."""
    if not session.has("source"):
        raise InputError("bn: source needs the source model, and this analysis has none; name it, or use bn: target")
    theirs = batch_norms(session.model("source"))
    found = {}
    for name, layer in batch_norms(session.model("target")).items():
        for kind in STATISTICS:
            value = getattr(theirs.get(name), kind, None)
            if value is None or value.shape != getattr(layer, kind).shape:
                raise InputError(
                    f'bn: source: the source model has no batch norm like "{name}"; use bn: target or recalibrated'
                )
            found[f"{name}.{kind}"] = value.detach().clone()
    return found


def recalibrated_statistics(session: AnalysisSession, images: int) -> dict[str, Tensor]:
    """Running statistics of M^t's backbone on source images, from the cache where they are known.

    Up to `images` images, drawn once by the session's seed and mixed, so that no batch is of one class.
    Raises InputError when there are fewer than two.
    """
    facts = {
        "what": "recalibrated batch norms",
        "model": session.digest("target"),
        "images": session.data_digest("source"),
        "most": images,
        "seed": session.seed,
    }

    def estimate() -> dict[str, Tensor]:
        model = copy.deepcopy(session.model("target")).eval()
        norms = batch_norms(model)
        with torch.no_grad():
            update_bn(_mixed_batches(session, images), _OnlyNormsTrain(model, list(norms.values())), session.device)
        return {f"{name}.{kind}": getattr(layer, kind) for name, layer in norms.items() for kind in STATISTICS}

    return session.cached(facts, estimate, shared=True)


class _OnlyNormsTrain(nn.Module):
    """A model of which `train()` reaches the batch norms alone: dropout would distort the statistics."""

    def __init__(self, model: TransferModel, norms: list[_BatchNorm]) -> None:
        super().__init__()
        self.model, self.norms = model, norms

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model(images).features
        return features

    def train(self, mode: bool = True) -> _OnlyNormsTrain:
        self.training = mode
        for layer in self.norms:
            layer.train(mode)
        return self


def _mixed_batches(session: AnalysisSession, images: int) -> Iterator[Tensor]:
    """Full batches of source images in a drawn order; fewer images than a batch make one smaller batch."""
    samples = session.samples("source")
    if len(samples) < 2:
        raise InputError("bn: recalibrated needs at least two source images; use bn: target")
    chosen = session.rng("retention", "batch norm").permutation(len(samples))[:images]
    batches = max(1, len(chosen) // BATCH_SIZE)
    with session.progress(batches, "batch-norm statistics on source images") as bar:
        for part in range(batches):
            indices = chosen[part * BATCH_SIZE : (part + 1) * BATCH_SIZE]
            yield samples.batch(indices, np.zeros_like(indices))[0]
            bar.advance(1)

"""One pass of a model over many images, in order, through the evaluation transform."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferkit.data.batches import EvalLoader
from transferkit.model.modes import evaluating

if TYPE_CHECKING:
    from transferkit.data.samples import Samples
    from transferkit.model.wrapper import Output, TransferModel
    from transferkit.training.progress import Bar

ON_A_CPU = 16  # images per batch: larger ones leave its caches and are slower
ELSEWHERE = 256

Progress = Callable[[int, str], "AbstractContextManager[Bar]"]
"""(total, description) -> a progress display: a session's `progress`."""


@torch.no_grad()
def outputs(
    model: TransferModel,
    samples: Samples,
    progress: Progress,
    description: str,
    *,
    batch_size: int | None = None,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor, Output]]:
    """(images, labels, what the model gives) of each batch, where the model is, without gradients.

    The model is in evaluation mode during the pass. Without `batch_size` batches are as large as is fast. With
    `workers`, processes read the samples, whose own transform must be that of evaluation.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    size = batch_size or fast_batch(device)
    with evaluating(model), progress(len(samples), description) as bar:
        for images, labels in _batches(samples, size, device, workers):
            yield images, labels, model(images)
            bar.advance(len(images))


def features_of(
    model: TransferModel,
    samples: Samples,
    progress: Progress,
    description: str,
    *,
    batch_size: int | None = None,
    workers: int = 0,
) -> tuple[Tensor, Tensor]:
    """Features (n, d) float32 and labels (n,) of all samples, on the CPU: see `outputs`."""
    features, labels = [torch.empty(0, model.num_features)], [torch.empty(0, dtype=torch.int64)]
    for _, given, output in outputs(model, samples, progress, description, batch_size=batch_size, workers=workers):
        features.append(output.features.float().cpu())
        labels.append(given.cpu())
    return torch.cat(features), torch.cat(labels)


def fast_batch(device: torch.device) -> int:
    """How many images are fastest in one forward pass."""
    return ON_A_CPU if device.type == "cpu" else ELSEWHERE


def reading_workers(images: int) -> int:
    """How many processes should read so many images: that pays where there are cores to spare and work for them."""
    cores = os.cpu_count() or 1
    return 0 if cores <= 4 or images < 1000 else min(8, cores - 2)


def _batches(samples: Samples, batch_size: int, device: torch.device, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    if not workers:
        yield from samples.evaluation_batches(batch_size, device)
        return
    loader = EvalLoader(samples, batch_size=batch_size, workers=workers)
    try:
        for batch in loader:
            images, labels = batch.on(device)
            yield images["target"], labels["target"]
    finally:
        loader.close()

"""Training worked out in a few lines of PyTorch, for runs whose every batch is the whole data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.model import TransferModel
from transferkit.model.folder import open_model, save_model
from transferkit.testing import tiny_model

WHOLE = {
    "batch_size": 30,
    "workers": 0,
    "batchnorm": "eval",
    "augmentation": {"none": True},
    "head_init": "source",
    "dataset": "tiny",
}
"""The keys of a stage that takes all 30 images of the tiny data set at every step, as they are."""


def start_folder(folder: Path, classes: Sequence[str], seed: int = 0) -> Path:
    """A saved model whose every weight is known; its input is 32 px without a crop, mean and deviation 0.5."""
    return save_model(folder, tiny_model(classes, seed=seed), None)


def pictures(npz: Path, split: str = "train") -> tuple[Tensor, Tensor]:
    """The images (n, 3, 32, 32) as that model wants them, and their labels (n,)."""
    with np.load(npz) as arrays:
        pixels = torch.from_numpy(arrays[f"x_{split}"]).permute(0, 3, 1, 2).float()
        return (pixels / 255 - 0.5) / 0.5, torch.from_numpy(arrays[f"y_{split}"]).long()


def cosine(lr: float, step: int, steps: int) -> float:
    """The rate of a step of so many: half a cosine from `lr` to 0."""
    return lr / 2 * (1 + math.cos(math.pi * step / steps))


def train(
    model: TransferModel, optimizer: torch.optim.Optimizer, rates: Sequence[float], images: Tensor, labels: Tensor
) -> None:
    """One step per rate on all images, batch norm with its running statistics."""
    model.eval()
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images).logits, labels).backward()
        optimizer.step()


def opened(folder: Path) -> TransferModel:
    """The model of a folder."""
    return open_model(folder)[0]


def assert_weights(model: TransferModel, saved: dict[str, Tensor], **tolerance: Any) -> None:
    """Every tensor of the model, running statistics too, is the saved one."""
    for name, tensor in model.net.state_dict().items():
        torch.testing.assert_close(saved[name], tensor, **tolerance)

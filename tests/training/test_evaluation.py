from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from transferkit.data.batches import Batch
from transferkit.errors import TransferkitError
from transferkit.training.evaluation import Evaluation, evaluate


class Fixed(nn.Module):
    """Looks logits up by the first pixel."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.inner = nn.Dropout()

    def forward(self, images: torch.Tensor):
        assert not self.training
        return SimpleNamespace(logits=self.logits[images[:, 0].long()])


class Loader(list):
    def __init__(self, batches: list[Batch], count: int) -> None:
        super().__init__(batches)
        self.samples = range(count)


def test_counts_and_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0], [1.0, 0, 0], [0, 2.0, 0]])
    labels = torch.tensor([0, 1, 1, 2, 1])
    indices = torch.arange(5).float()[:, None]
    batches = [
        Batch({"target": indices[a:b]}, {"target": labels[a:b]}, {"target": torch.arange(a, b)}, b - a)
        for a, b in ((0, 2), (2, 5))
    ]
    model = Fixed(logits).train()
    model.inner.eval()
    found = evaluate(model, Loader(batches, 5), Accelerator(cpu=True), 3)
    assert found.confusion.tolist() == [[1, 0, 0], [0, 2, 1], [1, 0, 0]]
    assert found.images == 5
    assert found.top1 == pytest.approx(3 / 5)
    assert found.per_class == pytest.approx([1.0, 2 / 3, 0.0])
    assert found.top5 == 1.0
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))
    assert model.training and not model.inner.training, "modes are restored one by one"


def test_a_class_without_images_has_no_recall() -> None:
    found = Evaluation(torch.tensor([[2, 0], [0, 0]]), 0.1, 1.0)
    assert found.per_class[0] == 1.0
    assert math.isnan(found.per_class[1])
    assert found.largest_share == (0, 1.0)


def test_a_sample_that_is_lost_is_noticed() -> None:
    batch = Batch({"target": torch.zeros(1, 1)}, {"target": torch.zeros(1, dtype=torch.long)}, {}, 1)
    with pytest.raises(TransferkitError, match="saw 1 images, but the data set has 2"):
        evaluate(Fixed(torch.zeros(1, 2)), Loader([batch], 2), Accelerator(cpu=True), 2)

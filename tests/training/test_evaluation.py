from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from transferkit.data.batches import Batch
from transferkit.errors import TransferkitError
from transferkit.training.evaluation import Evaluation, _Answers, evaluate


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
    found = Evaluation(torch.tensor([0, 0]), torch.tensor([0, 0]), 2, 0.1, 1.0)
    assert found.per_class[0] == 1.0
    assert math.isnan(found.per_class[1])
    assert found.largest_share == (0, 1.0)


def test_a_sample_that_is_lost_is_noticed() -> None:
    zero = torch.zeros(1, dtype=torch.long)
    batch = Batch({"target": torch.zeros(1, 1)}, {"target": zero}, {"target": zero}, 1)
    with pytest.raises(TransferkitError, match="saw 1 images, but the data set has 2"):
        evaluate(Fixed(torch.zeros(1, 2)), Loader([batch], 2), Accelerator(cpu=True), 2)


def test_thousands_of_classes_cost_what_their_logits_do() -> None:
    """81,313 classes (a landmarks set) would take 49 GiB as a matrix; what is found is what the matrix would say."""
    many = 81_313
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, many, (2, 6))
    true[3:] = predicted[3:] = true[0]
    tally = _Answers(many, torch.device("cpu"))
    for part in (slice(0, 2), slice(2, 6)):
        logits = torch.zeros(len(true[part]), many)
        logits[torch.arange(len(logits)), torch.from_numpy(predicted[part])] = 1.0
        tally.add(torch.arange(6)[part], logits, torch.from_numpy(true[part]))
    found = tally.result(Accelerator(cpu=True))
    assert found.indices is not None and found.indices.tolist() == list(range(6))
    # the softmax of one 1 among zeros, by hand: e / (e + 81312)
    assert found.probability is not None and found.probability.tolist() == pytest.approx(
        [math.e / (math.e + 81_312)] * 6, rel=1e-3
    )
    assert found.images == 6 and found.top1 == 0.5
    assert found.largest_share == (int(true[0]), 0.5)
    assert found.per_class[int(true[0])] == 0.75 and int(found.counts.sum()) == 6
    pairs = Counter(zip(true.tolist(), predicted.tolist(), strict=True))
    assert found.confused() == [[*pair, count] for pair, count in sorted(pairs.items())]
    names = [str(number) for number in range(many)]
    assert "per_class" not in found.record(names) and len(found.record(names, every_class=True)["per_class"]) == many


def test_recalls_and_counts_are_those_of_the_matrix() -> None:
    rng = np.random.default_rng(1)
    true, predicted = torch.from_numpy(rng.integers(0, 9, (2, 200)))
    found = Evaluation(true, predicted, 10, 0.0, 0.0)
    matrix = np.zeros((10, 10), dtype=np.int64)
    np.add.at(matrix, (true.numpy(), predicted.numpy()), 1)
    assert np.array_equal(found.confusion.numpy(), matrix)
    assert found.top1 == matrix.trace() / 200
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found.per_class, matrix.diagonal() / matrix.sum(axis=1))
    share = matrix.sum(axis=0)
    assert found.largest_share == (int(share.argmax()), share.max() / 200)

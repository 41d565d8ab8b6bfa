"""`check_plugin` names what is wrong with a detector, and passes one that keeps its promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from transferkit.errors import InputError
from transferkit.model import Scorer
from transferkit.model.detector import DetectorModule, verdict
from transferkit.testing import check_plugin

pytestmark = pytest.mark.filterwarnings("ignore:importing .* imports torch")


@dataclass
class Made:
    """A detector of any function, with tensors."""

    function: Any = None
    tensors: Any = None
    restored: Any = None
    watches: Any = ()

    def fit(self, session):
        return Scorer(self.function, "made", self.tensors or {}, self.watches)

    def restore(self, tensors):
        return Scorer(self.restored or self.function, "made", tensors, self.watches)


@dataclass
class Alone:
    """No restore."""

    def fit(self, session):
        return Scorer(lambda logits: logits[:, 0])


@dataclass
class NoModule(Alone):
    """A function in place of a module."""

    def fit(self, session):
        return lambda features, logits, taps: logits[:, 0]

    def restore(self, tensors):
        return None


@dataclass
class Drawn(Alone):
    """Tensors from nowhere."""

    def fit(self, session):
        return Scorer(lambda logits, a: logits[:, 0] + a, "", {"a": torch.tensor(next(COUNT))})

    def restore(self, tensors):
        return Scorer(lambda logits, a: logits[:, 0] + a, "", tensors)


COUNT = iter(float(i) for i in range(1000))


def single(logits):
    return logits[:, 0].float() + 1e-3 * (logits.dtype == torch.float64)


@pytest.mark.parametrize(
    ("cls", "options", "match"),
    [
        (Alone, {}, r"has fit and no restore\(tensors\)"),
        (NoModule, {}, "must return a module, not a function"),
        (Drawn, {}, "other tensors for the same session"),
        (Made, {"function": lambda logits: logits}, r"a detector gives scores \(images,\)"),
        (Made, {"function": lambda logits: logits[:, 0] / 0}, "not finite"),
        (Made, {"function": lambda logits: logits[:, 0] - logits.mean()}, "depends on the others of its batch"),
        (Made, {"function": single}, "in single precision are not those in double precision"),
        (Made, {"function": lambda logits: (logits[:, 0], logits.argmax(dim=1) + 900)}, "names other classes than -1"),
        (
            Made,
            {"function": lambda logits: (logits[:, 0], logits), "watches": [1]},
            r"each watched class \(images, 1\)",
        ),
        (Made, {"function": lambda logits: (logits[:, 0], logits), "watches": ["?"]}, "there is no such source class"),
        (
            Made,
            {"function": lambda logits: logits[:, 0], "restored": lambda logits: logits[:, 1]},
            "restore gives a module with other scores",
        ),
        (
            Made,
            {"function": lambda features: torch.cdist(features, features[:0].new_ones(40, features.shape[1])).amin(1)},
            "torch.export cannot trace",
        ),
    ],
)
def test_what_is_wrong_is_said(cls, options, match):
    with pytest.raises(AssertionError, match=match):
        check_plugin(cls, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"function": lambda logits: (logits[:, 0], logits[:, :2]), "watches": [4, 2]},
        {"function": lambda logits: (logits[:, 0], torch.where(logits[:, 0] > 0, 3, -1))},
        {"function": lambda features, a: (features * a).sum(dim=1), "tensors": {"a": torch.tensor(0.1)}},
    ],
)
def test_what_keeps_its_promises_passes(options):
    check_plugin(Made, **options)


def test_three_forms_of_an_answer():
    score, indices = torch.tensor([0.5, 0.2]), torch.tensor([7, 3])
    assert verdict(score, indices).source_class.tolist() == [-1, -1]
    assert verdict((score, torch.tensor([3, -1])), indices).source_class.tolist() == [3, -1]
    named = verdict((score, torch.tensor([[0.1, 0.2], [0.3, 0.2]])), indices)
    assert named.source_class.tolist() == [3, 7] and named.per_class.shape == (2, 2)
    for wrong in ((score,), (score, score), score.long(), (score, torch.ones(2, 3)), (score, "x"), None):
        with pytest.raises(InputError, match=r"a detector gives|beside its scores"):
            verdict(wrong, indices)


def test_a_detector_keeps_its_precision():
    module = DetectorModule(Scorer(lambda features, a: features @ a, "", {"a": torch.ones(3)}), [2])
    assert module.to(torch.bfloat16).inner.a.dtype == torch.float32 and module.half().indices.dtype == torch.int64
    found = module(torch.full((2, 3), 1 / 3), torch.zeros(2, 2), {})
    torch.testing.assert_close(found.score, torch.ones(2))

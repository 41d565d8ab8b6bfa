"""LwF: against SciPy, its gradient, invariances, which rows it holds, and in a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn
from transferkit_lwf import lwf
from transferkit_lwf.penalty import LwF

from tests.plugins.two_stage_runs import records, resumes_exactly
from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def logits(seed, shape=(5, 4)):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape) * 3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_against_scipy(temperature):
    now, before = logits(0), logits(1)
    expected = [
        entropy(softmax(b / temperature), softmax(n / temperature))
        for n, b in zip(now.numpy(), before.numpy(), strict=True)
    ]
    assert lwf(now, before, temperature).item() == pytest.approx(temperature**2 * np.mean(expected))


def test_by_hand():
    """p = (1/2, 1/2) of the source against q = (1/4, 3/4): KL = ½ ln(½ / ¼) + ½ ln(½ / ¾)."""
    value = lwf(torch.tensor([[0.0, np.log(3.0)]]), torch.tensor([[1.0, 1.0]]), 1.0)
    assert value.item() == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_the_gradient_is_that_of_the_papers_cross_entropy_and_none_goes_to_the_source():
    now, before = logits(0).requires_grad_(), logits(1).requires_grad_()
    lwf(now, before, 2.0).backward()
    soft = [torch.softmax(x.detach() / 2, dim=1) for x in (now, before)]
    torch.testing.assert_close(now.grad, 2.0 * (soft[0] - soft[1]) / len(now))  # T² · (q − p) / (T n)
    assert before.grad is None


def test_invariances():
    now, before = logits(0), logits(1)
    value = lwf(now, before)
    assert value > 0 and lwf(before, before).item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(lwf(now + torch.arange(5.0)[:, None], before - 3), value)  # only differences count
    torch.testing.assert_close(lwf(now[:, [2, 0, 3, 1]], before[:, [2, 0, 3, 1]]), value)
    torch.testing.assert_close(lwf(torch.cat([now, now]), torch.cat([before, before])), value)
    assert lwf(now[:0], before[:0]).item() == 0.0


def session(source, classes, head_init="default"):
    head = SourceHead(torch.eye(len(source), 4), None, source)
    return SimpleNamespace(source_head=head, classes=classes, stage=SimpleNamespace(head_init=head_init))


@pytest.mark.parametrize(
    ("source", "classes", "head_init", "old", "rows"),
    [
        (["a", "b"], ["a", "b", "c"], "source", [0, 1], [0, 1]),
        (["a", "b", "z"], ["c", "b", "a"], "default", [0, 1], [2, 1]),  # by name; z has no row any more
        (["0", "1"], ["a", "b", "c"], "source", [0, 1], [0, 1]),  # by place, where the head was filled so
    ],
)
def test_which_logits_are_held(source, classes, head_init, old, rows):
    plugin = LwF()
    own = plugin.parameters(session(source, classes, head_init))
    assert not list(own.parameters())
    now, before = logits(0, (6, 3)), logits(1, (6, len(source)))
    found = plugin.penalty(torch.zeros(6, 4), now, before, own)
    torch.testing.assert_close(found, lwf(now[:, rows], before[:, old]))


def test_without_shared_classes_the_source_classifier_trains_on():
    plugin = LwF(temperature=3.0)
    own = plugin.parameters(session(["a", "b"], ["x", "y", "z"]))
    assert isinstance(own, nn.Linear) and own.weight.requires_grad
    features, before = torch.randn(6, 4), torch.randn(6, 2)
    found = plugin.penalty(features, torch.randn(6, 3), before, own)
    torch.testing.assert_close(found, lwf(features[:, :2], before, 3.0))


def test_what_is_refused():
    with pytest.raises(InputError, match="has no classifier"):
        LwF().parameters(SimpleNamespace(source_head=None, classes=["a"]))
    with pytest.raises(ValidationError):
        installed().get("regularizer", "lwf").create({"temperature": 0})


def test_the_promises_of_a_plugin():
    check_plugin(LwF)


def test_it_keeps_answers_and_resumes_exactly(tmp_path, monkeypatch):
    ends = {}
    for weight in (1e-6, 20.0):
        use = {"use": "lwf", "weight": weight}
        done = resumes_exactly(tmp_path / str(weight), monkeypatch, regularizers=[use], head_init="source")
        ends[weight] = records(done.whole.run_dir)[-1]["terms"]["lwf"]["raw"]
    assert 0 < ends[20.0] < 0.5 * ends[1e-6]

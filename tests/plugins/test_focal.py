"""Focal and asymmetric loss: against SciPy and by hand, autograd, and in runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import expit, softmax
from torch.nn.functional import cross_entropy, one_hot
from transferkit_focal import asymmetric, focal
from transferkit_focal.losses import Asymmetric, Focal

from tests.plugins.two_stage_runs import recipe, resumes_exactly, run, weights
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0], [30.0, 1.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 0, 0])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_against_scipy(gamma):
    p = softmax(LOGITS.numpy(), axis=1)[np.arange(4), LABELS.numpy()]
    alpha = np.array([0.5, 1.0, 2.0])
    expected = -alpha[LABELS.numpy()] * (1 - p) ** gamma * np.log(p)
    ours = focal(LOGITS, LABELS, gamma, torch.from_numpy(alpha))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-3)  # SciPy's 1 - p has lost digits in the last row
    np.testing.assert_allclose(ours.numpy()[:3], expected[:3], rtol=1e-12)


def test_without_focus_it_is_cross_entropy():
    torch.testing.assert_close(focal(LOGITS, LABELS, 0.0), cross_entropy(LOGITS, LABELS, reduction="none"))


def test_shares_are_a_mixture_of_labels():
    other = torch.tensor([1, 1, 2, 0])
    soft = 0.3 * one_hot(LABELS, 3) + 0.7 * one_hot(other, 3)
    torch.testing.assert_close(focal(LOGITS, soft), 0.3 * focal(LOGITS, LABELS) + 0.7 * focal(LOGITS, other))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_is_that_of_the_formula_and_finite_where_p_is_1(gamma):
    logits = LOGITS[:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: focal(x, LABELS[:3], gamma), (logits,))
    sure = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    focal(sure, torch.tensor([0, 0]), gamma).sum().backward()
    assert sure.grad.isfinite().all()


def test_asymmetric_by_hand():
    """Eqs. 4 to 7 of the paper: a shifted probability for negatives, a focus for each side."""
    p, y = expit(LOGITS.numpy()), np.eye(3)[LABELS.numpy()]
    shifted = np.maximum(p - 0.05, 0)
    each = -y * (1 - p) * np.log(p) - (1 - y) * shifted**4 * np.log(np.maximum(1 - shifted, 1e-8))
    np.testing.assert_allclose(asymmetric(LOGITS, LABELS).numpy(), each.sum(axis=1), rtol=1e-4)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(
        LOGITS[:3], one_hot(LABELS, 3)[:3].double(), reduction="none"
    )
    unfocused = asymmetric(LOGITS[:3], LABELS[:3], 0.0, 0.0, 0.0)
    torch.testing.assert_close(unfocused.double(), plain.sum(dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [None, "balanced", [1.0, 2.0, 0.5]])
def test_weights_of_classes(alpha):
    counts = torch.tensor([10, 20, 30])
    weight = {"balanced": torch.tensor([2.0, 1.0, 2 / 3])}.get(
        str(alpha), torch.tensor(alpha if isinstance(alpha, list) else [1.0] * 3)
    )
    expected = focal(LOGITS, LABELS, 2.0) * weight.double()[LABELS]
    torch.testing.assert_close(Focal(alpha=alpha).loss(LOGITS, LABELS, counts), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("cls", "options"), [(Focal, {}), (Focal, {"gamma": 0.5, "alpha": "balanced"}), (Asymmetric, {})]
)
def test_the_promises_of_a_plugin(cls, options):
    check_plugin(cls, **options)


@pytest.mark.parametrize("options", [{"gamma": -1.0}, {"alpha": [-1.0]}, {"alpha": "equal"}])
def test_options(options):
    with pytest.raises(ValidationError):
        installed().get("loss", "focal").create(options)


def test_weights_for_other_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match="alpha has 2 weights, but there are 10 classes"):
        run(tmp_path, recipe(loss={"use": "focal", "alpha": [1.0, 2.0]}))


def test_a_run_without_focus_is_one_with_cross_entropy(tmp_path):
    ours = weights(run(tmp_path / "a", recipe(loss={"use": "focal", "gamma": 0})).run_dir)
    plain = weights(run(tmp_path / "b", recipe()).run_dir)
    for name, value in plain.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["focal", "asymmetric"])
def test_they_resume_exactly(tmp_path, monkeypatch, name):
    resumes_exactly(tmp_path, monkeypatch, loss={"use": name})

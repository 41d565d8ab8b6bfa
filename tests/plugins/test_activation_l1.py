"""L1 on activations by hand, its gradient, and in a run."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from transferkit_activation_l1 import activation_l1
from transferkit_activation_l1.penalty import ActivationL1

from tests.plugins.two_stage_runs import records, resumes_exactly
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def test_by_hand():
    assert activation_l1(torch.tensor([[1.0, -2.0, 0.0], [3.0, 0.0, 0.0]])).item() == 1.0
    assert activation_l1(torch.zeros(0, 4)).item() == 0.0
    assert activation_l1(torch.full((2, 3, 2, 2), -0.5)).item() == 0.5


def test_the_gradient_is_the_sign_over_the_size():
    features = torch.tensor([[1.5, -2.0, 0.0], [3.0, -0.1, 4.0]], dtype=torch.float64, requires_grad=True)
    activation_l1(features).backward()
    torch.testing.assert_close(features.grad, features.detach().sign() / 6)
    shifted = (features.detach() + 0.05).requires_grad_()  # away from the kink
    assert torch.autograd.gradcheck(activation_l1, (shifted,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    features = torch.full((512, 512), 10.0, dtype=dtype)  # their sum is beyond float16
    value = activation_l1(features)
    assert value.dtype == torch.float32 and value.item() == 10.0


def test_on_features_and_on_a_tap():
    features, maps = torch.full((2, 3), 2.0), torch.full((2, 4, 5, 5), -3.0)
    assert ActivationL1().penalty(features, {}).item() == 2.0
    assert ActivationL1(tap="layer1").penalty(features, {"layer1": maps}).item() == 3.0
    assert ActivationL1().taps(None) == [] and ActivationL1(tap="layer1").taps(None) == ["layer1"]


@pytest.mark.parametrize("options", [{}, {"tap": "layer3"}])
def test_the_promises_of_a_plugin(options):
    check_plugin(ActivationL1, **options)


def test_options():
    component = installed().get("regularizer", "activation_l1")
    assert component.create({}) == ActivationL1()
    with pytest.raises(ValidationError):
        component.create({"layers": ["a"]})


def test_it_makes_features_smaller_and_resumes_exactly(tmp_path, monkeypatch):
    done = resumes_exactly(tmp_path, monkeypatch, regularizers=[{"use": "activation_l1", "weight": 5.0}])
    first, last = (record["terms"]["activation_l1"]["raw"] for record in records(done.whole.run_dir))
    assert 0 < last < 0.8 * first

from __future__ import annotations

import pytest
import torch
from torch import nn

from transferkit.errors import InputError
from transferkit.training.anchors import Anchor


def parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    found = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in found:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return found


@pytest.mark.parametrize("with_targets", [True, False])
@pytest.mark.parametrize("with_importance", [True, False])
def test_the_pull_is_the_gradient_that_autograd_finds(with_targets: bool, with_importance: bool) -> None:
    weights = parameters((3, 4), (5,))
    targets = [torch.ones_like(w) for w in weights] if with_targets else None
    importance = [torch.rand_like(w) for w in weights] if with_importance else None
    before = [w.grad.clone() for w in weights]

    penalty = (
        0.7
        * 0.5
        * sum(
            ((importance[i] if importance else 1) * (w - (targets[i] if targets else 0)) ** 2).sum()
            for i, w in enumerate(weights)
        )
    )
    expected = torch.autograd.grad(penalty, weights)

    anchor = Anchor(weights, targets, importance)
    assert float(anchor.value()) * 0.7 == pytest.approx(float(penalty), rel=1e-6)
    anchor.pull(0.7)
    for weight, old, gradient in zip(weights, before, expected, strict=True):
        torch.testing.assert_close(weight.grad, old + gradient, rtol=1e-6, atol=1e-6)


def test_a_frozen_parameter_and_a_zero_weight_are_left_alone() -> None:
    frozen, free = parameters((2,), (2,))
    frozen.grad = None
    before = free.grad.clone()
    anchor = Anchor([frozen, free])
    anchor.pull(0.0)
    assert torch.equal(free.grad, before)
    anchor.pull(1.0)
    assert frozen.grad is None
    torch.testing.assert_close(free.grad, before + free.detach())


def test_at_its_target_a_parameter_feels_exactly_nothing() -> None:
    (weight,) = parameters((1000,))
    before = weight.grad.clone()
    Anchor([weight], [weight.detach().clone()]).pull(3.0)
    assert torch.equal(weight.grad, before)


def test_shapes_must_match() -> None:
    with pytest.raises(InputError, match="same shape"):
        Anchor(parameters((2, 2)), [torch.zeros(2)])

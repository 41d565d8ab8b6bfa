"""L2 by hand, and its anchors against autograd."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transferkit_l2 import l2
from transferkit_l2.penalty import L2


def network():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    head = nn.Linear(4, 2)
    return SimpleNamespace(
        named_backbone_parameters=body.named_parameters,
        named_head_parameters=lambda: head.named_parameters(prefix="fc"),
        parameters=lambda: [*body.parameters(), *head.parameters()],
    )


def test_by_hand():
    assert l2([torch.tensor([3.0, 4.0]), torch.tensor([[2.0]])]).item() == 0.5 * (9 + 16 + 4)
    assert l2([]).item() == 0.0
    assert l2(torch.full((2,), 2.0) for _ in range(3)).item() == 12.0


def test_gradient_is_the_weight():
    w = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: l2([x, x[:1]]), (w,))
    (gradient,) = torch.autograd.grad(l2([w]), w)
    torch.testing.assert_close(gradient, w.detach())


def test_dtypes():
    assert l2([torch.ones(3, dtype=torch.float64)]).dtype == torch.float64
    assert l2([torch.ones(3)]).dtype == torch.float32
    large = torch.full((1000,), 200.0, dtype=torch.float16)  # the sum of squares does not fit into float16
    assert l2([large]).dtype == torch.float32 and l2([large]).item() == 2e7


def test_many_tensors_do_not_lose_digits():
    tensors = [torch.full((1000,), 1e3)] + [torch.full((10,), 1e-1) for _ in range(10_000)]
    assert l2(tensors).item() == pytest.approx(0.5 * (1e9 + 1e3), rel=1e-7)


@pytest.mark.parametrize("params", ["all", "weights"])
@pytest.mark.parametrize("head", [True, False])
def test_anchors_pull_like_autograd(params, head):
    model = network()
    anchors = L2(params=params, head=head).anchors(model)
    assert [anchor.term for anchor in anchors] == (["backbone", "head"] if head else ["backbone"])
    chosen = [p for anchor in anchors for p in anchor.parameters]
    assert all(p.ndim >= 2 for p in chosen) == (params == "weights")
    value = l2(chosen)
    expected = torch.autograd.grad(value, chosen)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for anchor in anchors:
        anchor.pull(0.25)
    for parameter, gradient in zip(chosen, expected, strict=True):
        torch.testing.assert_close(parameter.grad, 0.25 * gradient)
    untouched = [p for p in model.parameters() if all(p is not other for other in chosen)]
    assert all(not p.grad.any() for p in untouched)
    assert sum(anchor.value() for anchor in anchors).item() == pytest.approx(value.item(), rel=1e-6)


def test_conflicts_with_weight_decay():
    assert L2.conflicts == {"weight_decay"}

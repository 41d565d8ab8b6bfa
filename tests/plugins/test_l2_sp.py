"""L2-SP by hand, its anchors against autograd, and the traps of matching a reference."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transferkit_l2_sp import l2_sp
from transferkit_l2_sp.penalty import L2SP


def wrapped(body, head):
    return SimpleNamespace(
        named_backbone_parameters=body.named_parameters,
        named_head_parameters=lambda: head.named_parameters(prefix="fc"),
    )


@pytest.fixture
def bodies():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    start = copy.deepcopy(body)
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(torch.randn_like(parameter))
    return body, start


def test_by_hand():
    w, start = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 1.0])
    assert l2_sp([w], [start]).item() == 0.5 * (4 + 9)
    assert l2_sp([w, w], [start, w]).item() == 0.5 * (4 + 9)
    assert l2_sp([], []).item() == 0.0


def test_gradient_is_the_difference_and_only_the_first_has_one():
    w = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    l2_sp([w], [start]).backward()
    torch.testing.assert_close(w.grad, (w - start).detach())
    assert start.grad is None
    assert torch.autograd.gradcheck(lambda x: l2_sp([x], [start.detach()]), (w,))


def test_dtypes_and_refusals():
    assert l2_sp([torch.ones(2, dtype=torch.float64)], [torch.zeros(2)]).dtype == torch.float64
    assert l2_sp([torch.ones(2, dtype=torch.bfloat16)], [torch.zeros(2)]).dtype == torch.float32
    with pytest.raises(ValueError, match=r"shape \(2,\) against one of shape \(3,\)"):
        l2_sp([torch.ones(2)], [torch.ones(3)])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        l2_sp([torch.ones(2)], [])


@pytest.mark.parametrize("params", ["all", "weights"])
def test_anchors_pull_like_autograd(bodies, params):
    body, start = bodies
    head = nn.Linear(4, 2)
    backbone, top = L2SP(params=params).anchors(wrapped(body, head), wrapped(start, nn.Linear(4, 9)))
    assert (backbone.term, top.term) == ("backbone", "head") and top.targets is None
    named = {name: p for name, p in body.named_parameters() if params == "all" or p.ndim >= 2}
    assert [id(p) for p in backbone.parameters] == [id(p) for p in named.values()]
    value = l2_sp(named.values(), [start.get_parameter(name) for name in named])
    expected = torch.autograd.grad(value, list(named.values()))
    for parameter in [*body.parameters(), *head.parameters()]:
        parameter.grad = torch.zeros_like(parameter)
    backbone.pull(0.1)
    top.pull(0.2)
    for parameter, gradient in zip(named.values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 0.1 * gradient)
        assert parameter.grad.any()
    torch.testing.assert_close(head.weight.grad, 0.2 * head.weight.detach())
    assert backbone.value().item() == pytest.approx(value.item(), rel=1e-6)


def test_targets_are_copies_made_when_attached(bodies):
    body, _ = bodies
    (anchor,) = L2SP(head=False).anchors(wrapped(body, nn.Linear(4, 2)), wrapped(body, nn.Linear(4, 2)))
    assert anchor.value().item() == 0.0
    with torch.no_grad():
        body[0].weight.add_(1.0)
    assert anchor.value().item() == pytest.approx(body[0].weight.numel() / 2)


def test_a_reference_that_does_not_fit_is_named(bodies):
    body, start = bodies
    head = nn.Linear(4, 2)
    with pytest.raises(KeyError, match=r"no parameter '1.weight'"):
        L2SP().anchors(wrapped(body, head), wrapped(start[:1], head))
    start[0] = nn.Conv2d(3, 5, 3)
    with pytest.raises(KeyError, match=r"'0.weight' has shape \(4, 3, 3, 3\), but \(5, 3, 3, 3\)"):
        L2SP().anchors(wrapped(body, head), wrapped(start, head))


def test_conflicts_with_weight_decay():
    assert L2SP.conflicts == {"weight_decay"}


def test_tensors_of_many_pieces_and_odd_shapes_are_pulled_exactly():
    torch.manual_seed(0)
    body = nn.ParameterDict(
        {
            "wide": torch.randn(3, 300_000),
            "tall": torch.randn(300_000, 3),
            "turned": torch.randn(700, 800).T,
            "scalar": torch.randn(()),
            "empty": torch.randn(0, 4),
        }
    )
    start = nn.ParameterDict({name: p.detach() * 0.9 for name, p in body.items()})
    (anchor,) = L2SP(head=False).anchors(wrapped(body, nn.Linear(2, 2)), wrapped(start, nn.Linear(2, 2)))
    for parameter in body.values():
        parameter.grad = torch.ones_like(parameter)
    anchor.pull(0.5)
    for name, parameter in body.items():
        torch.testing.assert_close(parameter.grad, 1 + 0.5 * (parameter - start[name]).detach())

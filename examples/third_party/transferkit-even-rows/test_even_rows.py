"""What it computes, against values by hand; and that it keeps the promises of its hooks."""

from __future__ import annotations

import torch
from transferkit.testing import check_plugin, tiny_model

from transferkit_even_rows import EvenRows, even_rows


def test_value_by_hand() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    torch.testing.assert_close(even_rows(weight), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    torch.testing.assert_close(even_rows(weight, tau=0.0), weight)


def test_it_names_the_weight_of_the_classifier() -> None:
    model = tiny_model()
    ((name, value),) = EvenRows().edit(model).items()
    assert name in dict(model.named_head_parameters()) and value.shape == model.head.weight.shape


def test_keeps_the_promises_of_a_plugin() -> None:
    check_plugin(EvenRows, tau=0.5)

"""What it computes, against values by hand; and that it keeps the promises of its hooks."""

from __future__ import annotations

import math

import torch
from transferkit.testing import check_plugin

from transferkit_flat_logits import FlatLogits, flat_logits


def test_value_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    torch.testing.assert_close(flat_logits(logits, torch.tensor(1.0)), torch.tensor([-math.log(2), -math.log(4)]))
    torch.testing.assert_close(flat_logits(logits, torch.tensor(2.0))[0], torch.tensor(-2 * math.log(2)))


def test_keeps_the_promises_of_a_plugin() -> None:
    check_plugin(FlatLogits, temperature=1.0)

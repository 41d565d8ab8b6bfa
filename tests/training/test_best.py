from __future__ import annotations

import math

import pytest

from transferkit.recipe.selection import Selection
from transferkit.training.evaluation import better


@pytest.mark.parametrize(
    ("new", "old", "metric", "wanted"),
    [
        ((0.5, 1.0), (0.4, 0.1), "top1", True),
        ((0.5, 1.0), (0.5, 1.1), "top1", True),
        ((0.5, 1.0), (0.4, 0.1), "loss", False),
        ((None, 1.0), (None, 1.1), "top1", True),
        ((0.5, 1.0), (0.5, math.nan), "top1", True),  # a loss that is no number is beaten by any
        ((0.5, math.nan), (0.5, 1.0), "top1", False),
        ((0.1, 1.0), (0.5, math.nan), "loss", True),
        ((0.5, math.nan), (0.5, math.nan), "loss", False),
    ],
)
def test_which_result_is_better(new, old, metric: str, wanted: bool) -> None:
    first, second = ({"top1": top1, "loss": loss} for top1, loss in (new, old))
    assert better(first, second, Selection(metric)) is wanted

"""A small model for everything that does not depend on the family."""

from __future__ import annotations

import pytest
import torch

from transferkit.model import build
from transferkit.recipe.schema import Model


@pytest.fixture
def small():
    """A tiny residual network with batch norm for 32-pixel images and three classes."""
    torch.manual_seed(0)
    spec = Model(name="test_resnet", preprocessing={"input_size": 32})
    model, _ = build(spec, weights="scratch", source_classes=list("vwxyz"), classes=["a", "b", "c"])
    return model

"""Evaluation mode for a while leaves every part as it was."""

from __future__ import annotations

import pytest
from torch import nn

from transferkit.model import evaluating


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_each_part_is_in_its_own_mode_again(error):
    frozen, module = nn.BatchNorm1d(2).eval(), nn.Module()
    module.first, module.frozen = nn.Dropout(), frozen

    def use() -> None:
        with evaluating(module) as nothing:
            assert nothing is None and not any(part.training for part in module.modules())
            module.frozen.train()
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert module.training and module.first.training and not frozen.training

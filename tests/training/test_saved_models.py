"""A stage is done when its model folder was seen to open with the model that was trained."""

from __future__ import annotations

import dataclasses
import json

import pytest
from torch import nn

from tests.training.conftest import offer
from transferkit.errors import TransferkitError


class Low(nn.Module):
    """A layer in another's place, as an adapter that was forgotten there."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


@dataclasses.dataclass
class Swap:
    """Against the rule: it changes the model where it should name layers."""

    def taps(self, model):
        model.net.layer4[0].conv1 = Low(model.net.layer4[0].conv1)
        return []


def test_a_model_that_opens_nowhere_is_no_success(run, registry, tmp_path) -> None:
    offer(registry, "regularizer", "swap", Swap)
    with pytest.raises(TransferkitError, match=r"not saved, because .*layer4\.0\.conv1\.layer\.weight") as caught:
        run(regularizers=[{"use": "swap"}], epochs=1)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["status"] == "failed"
    assert not list(tmp_path.rglob("stages/*/model")) and not list(tmp_path.rglob("stages/*/.model*"))
    assert list(tmp_path.rglob("checkpoints/step-*"))

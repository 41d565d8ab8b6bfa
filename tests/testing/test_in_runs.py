"""`check_plugin(…, thorough=True)`: what only a run shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import transferkit
from tests.testing.test_check_plugin import Spread
from transferkit.model import layers_of, recast
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin
from transferkit.testing.check import check_class
from transferkit.testing.in_runs import Trial

pytestmark = pytest.mark.filterwarnings("ignore:importing .* imports torch")


@dataclass
class Favourite:
    """An analyzer."""

    def analyze(self, session):
        answers = session.predictions("target", "source").predicted()
        return transferkit.Report({"favourite": float(answers.bincount().max()) / len(answers)})


@dataclass
class Halves:
    source: str = "tiny"

    def streams(self, session):
        return {"source": transferkit.Stream(session.open_samples(self.source, "train"))}

    def mix(self):
        return {"source": 0.5}


@dataclass
class Grey:
    def corrupt(self, image):
        return image.convert("L").convert("RGB")


@dataclass
class Forgets:
    """A moving average that is not in its state."""

    _mean: Any = field(init=False, default=None, repr=False)

    def penalty(self, features):
        if self._mean is None:
            return features.square().mean()
        return (features - self._mean).square().mean()

    def step_end(self, session):
        self._mean = session.model.head.weight.detach().mean()


@dataclass
class BreaksAlone:
    """Fine on the tiny session; in a run a batch is smaller."""

    def penalty(self, features, epoch):
        if epoch == 1:
            raise KeyError("second epoch")
        return features.square().mean()


@dataclass
class Meddles:
    def epoch_end(self, session, epoch):
        if epoch == 1:
            with torch.no_grad():
                session.model.head.weight.zero_()


@dataclass
class AlreadyTrained:
    """Steps counted on its own, which accumulation and a resume put out of step."""

    _losses: list = field(init=False, default_factory=list)

    def step_end(self, losses):
        self._losses.append(float(losses["task"]))

    def state_dict(self):
        return {"losses": self._losses}

    def load_state_dict(self, state):
        self._losses = list(state["losses"])


@pytest.mark.parametrize("cls", [Spread, Favourite, Halves, Grey, AlreadyTrained])
def test_good_plugins_pass(cls):
    check_plugin(cls, thorough=True)


def test_one_beside_it_that_the_network_cannot_have_is_left_out(tmp_path):
    """A ViT has no batch norm, which is nobody's fault."""
    known = installed()
    lora, stoch_norm = (known.get("adapter", name) for name in ("lora", "stoch_norm"))
    for architecture, refused in (("test_vit", True), ("test_resnet", False)):
        folder = tmp_path / architecture
        folder.mkdir()
        assert Trial.of(lora, {}, folder, architecture).refuses(stoch_norm) is refused


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Forgets, r"Forgets: stopped in the middle of an epoch and resumed.*state_dict"),
        (BreaksAlone, r"BreaksAlone fails in a whole run.*KeyError: 'second epoch'.*in penalty of"),
        (Meddles, r"Meddles fails in a whole run.*epoch_end of the observer .* changed the weights"),
    ],
)
def test_bad_ones_are_told_in_which_run(cls, words):
    check_plugin(cls)
    with pytest.raises(AssertionError, match=words):
        check_plugin(cls, thorough=True)


@dataclass
class Owls:
    """A corruption of a class that an option names."""

    bird: str
    where: Path

    def select(self, labels, classes):
        return np.flatnonzero(labels == classes.index(self.bird))

    def corrupt(self, image):
        return image.convert("L").convert("RGB")


@dataclass
class Bent:
    """An adapter that cannot be merged."""

    freezes: ClassVar[bool] = True
    merges: ClassVar[bool] = False

    def adapt(self, model):
        class Squashed(nn.Linear):
            def forward(self, x):
                return super().forward(x) + self.more * x.mean(dim=-1, keepdim=True).tanh()

        layers = {name: recast(layer, Squashed) for name, layer in layers_of(model, nn.Linear, ["*.fc1"]).items()}
        for layer in layers.values():
            layer.more = nn.Parameter(torch.zeros(()))
        return layers


@pytest.mark.parametrize(
    ("cls", "options", "architecture"),
    [(Owls, {"bird": "owl", "where": Path("there")}, "test_resnet"), (Bent, {}, "test_vit")],
)
def test_the_tiny_recipe_has_what_the_plugin_is_for(cls, options, architecture, tmp_path):
    Trial.of(check_class(cls, options), options, tmp_path, architecture).train("whole")


def test_a_wrong_annotation_is_found():
    class Wrong:
        def penalty(self, features: str) -> torch.Tensor:
            return features.mean()

    with pytest.raises(AssertionError, match=r"Wrong\.penalty gets as features Tensor, but is annotated with str"):
        check_plugin(Wrong)
    Wrong.penalty.__annotations__ = {"features": torch.Tensor, "return": float}
    with pytest.raises(AssertionError, match=r"Wrong\.penalty returns .*Tensor.* but is annotated with float"):
        check_plugin(Wrong)
    Wrong.penalty.__annotations__ = {"features": "object", "return": "Tensor"}
    check_plugin(Wrong)

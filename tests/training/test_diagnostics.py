"""What is said aloud at step 0 and after an epoch."""

from __future__ import annotations

import dataclasses
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests.training.conftest import offer
from transferkit.training import diagnostics
from transferkit.training.evaluation import Evaluation
from transferkit.training.workspace import State, Workspace


def warnings(result) -> str:
    return "\n".join(result.stages["target"]["warnings"])


@dataclasses.dataclass
class Times:
    """A penalty of a chosen kind."""

    kind: str = "none"

    def penalty(self, features, logits):
        if self.kind == "constant":
            return torch.zeros(())
        if self.kind == "flat":
            return (features * 0).sum() + 1.0
        return features.square().sum()


@pytest.mark.parametrize(
    ("kind", "weight", "says"),
    [
        ("constant", 1.0, "times has no gradient"),
        ("flat", 1.0, "times has a zero gradient at step 0"),
        ("real", 1e-9, "numerically it does nothing"),
        ("real", 1e3, "times as hard as the task at step 0"),
    ],
)
def test_a_term_that_does_nothing_or_too_much_is_named(run, registry, kind: str, weight: float, says: str) -> None:
    offer(registry, "regularizer", "times", Times)
    result = run(
        epochs=1,
        optimizer={"name": "momentum", "lr": 1e-9},
        regularizers=[{"use": "times", "kind": kind, "weight": weight}],
    )
    assert says in warnings(result)


def test_a_sensible_term_is_not_complained_about(run, registry) -> None:
    offer(registry, "regularizer", "times", Times)
    result = run(epochs=1, regularizers=[{"use": "times", "kind": "real", "weight": 1e-4}])
    assert "times" not in warnings(result)


def test_a_head_rate_above_its_limit_is_named(run) -> None:
    result = run(epochs=1, optimizer={"name": "momentum", "lr": 1e-6, "head_lr_multiplier": 1e8})
    assert "above its stability limit" in warnings(result)
    quiet = run(epochs=1, optimizer={"name": "momentum", "lr": 1e-9})
    assert "stability" not in warnings(quiet)


def test_one_class_that_takes_all_predictions_is_named(run) -> None:
    result = run(epochs=1, optimizer={"name": "momentum", "lr": 1e-9})
    assert "takes 100% of the validation predictions" in warnings(result)


def test_what_a_later_epoch_refutes_is_taken_back() -> None:
    """A model that is constant after one epoch and not after the next needs nobody's attention; one that stays does."""
    state, said = State(warnings=["another thing"]), []
    session = SimpleNamespace(state=state, classes=["a", "b"], total_steps=8, spoken=set())
    session.standing = partial(Workspace.standing, session)
    session.display = SimpleNamespace(warn=said.append)
    true, constant = torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.int64)
    flat, varied = torch.ones(8, 4), torch.eye(8)
    both = ["another thing", "nearly constant", "features collapse"]
    for predicted, features, left, spoken in (
        (constant, flat, both, 0),  # early: it may still come to something
        (true, varied, ["another thing"], 0),
        (constant, flat, both, 0),
        (constant, flat, both, 2),  # half of the training is over
        (constant, flat, both, 2),  # once, not for every epoch
        (true, varied, ["another thing"], 2),
        (constant, flat, both, 4),  # it came back
        (constant, flat, both, 4),
    ):
        state.step += 1
        diagnostics.watch(session, Evaluation(true, predicted, 2, 0.0, 1.0), features)
        assert len(state.warnings) == len(left) and len(said) == spoken
        assert all(words in text for words, text in zip(left, state.warnings, strict=True))
        state.epoch += 1


def test_features_that_have_become_one_are_named(run, registry) -> None:
    @dataclasses.dataclass
    class Same:
        def project(self, parameters):
            return {name: torch.zeros_like(value) for name, value in parameters.items()}

    offer(registry, "regularizer", "same", Same)
    result = run(epochs=1, regularizers=[{"use": "same"}], optimizer={"name": "momentum", "lr": 1e-9})
    assert "the features collapse" in warnings(result)


def test_an_anchor_on_frozen_parameters_is_named(run) -> None:
    stage = {"dataset": "tiny", "batch_size": 8, "workers": 0, "epochs": 1}
    result = run(
        top={
            "stages": [
                stage | {"name": "first", "start": "scratch"},
                stage
                | {
                    "name": "target",
                    "start": "first",
                    "freeze": ["[!f]*"],
                    "regularizers": [{"use": "l2", "weight": 0.1}],
                },
            ]
        }
    )
    assert "l2 (backbone) has nothing to pull on" in warnings(result)

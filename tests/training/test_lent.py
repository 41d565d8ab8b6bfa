"""Hooks that look get no more than the docs list, and one that changes something ends the run with its name."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from tests.training.conftest import offer
from transferkit.errors import TransferkitError
from transferkit.training.lent import GIVEN


def at_step(change, when=1):
    """An observer that does this at a step."""

    @dataclasses.dataclass
    class Meddles:
        def step_end(self, session, step):
            if step == when:
                change(session.model)

    return Meddles


def at_epoch(change):
    @dataclasses.dataclass
    class Meddles:
        def epoch_end(self, session):
            change(session.model)

    return Meddles


def at_setup(change):
    @dataclasses.dataclass
    class Meddles:
        def setup(self, session):
            change(session.model)

        def step_end(self):
            return None

    return Meddles


def adds(model):
    with torch.no_grad():
        model.head.weight.add_(1)


def adds_past_autograd(model):
    model.head.weight.data.mul_(2)


def hooks(model):
    model.net.register_forward_hook(lambda module, args, output: None)


def swaps(model):
    model.net.act1 = torch.nn.Identity()


def overrides(model):
    forward = model.net.forward
    model.net.forward = lambda images: forward(images)


def freezes(model):
    model.head.bias.requires_grad_(False)


def runs_in_train_mode(model):
    model.train()
    model(torch.zeros(4, 3, 32, 32))


@pytest.mark.parametrize("make", [at_step, at_epoch, at_setup])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (adds, "changed the weights .*weight"),
        (adds_past_autograd, "changed the weights .*weight"),
        (hooks, "changed the hooks of net"),
        (swaps, "changed the module net.act1"),
        (overrides, "changed the hooks of net"),
        (freezes, "changed requires_grad of .*bias"),
        (runs_in_train_mode, "changed the (weights|mode)"),
    ],
)
def test_what_changes_something_is_named(run, registry, make, change, words, tmp_path) -> None:
    offer(registry, "observer", "meddles", make(change))
    hook = {"at_step": "step_end", "at_epoch": "epoch_end", "at_setup": "setup"}[make.__name__]
    match = rf"{hook} of the observer 'meddles' \(transferkit-meddles 1\.0\) {words}"
    with pytest.raises(TransferkitError, match=match) as caught:
        run(epochs=1, observers=[{"use": "meddles"}])
    assert caught.value.exit_code == 1
    (result,) = tmp_path.glob("**/result.json")
    assert json.loads(result.read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("change", "words"), [(adds, "the weights"), (swaps, "the module"), (freezes, "requires_grad")]
)
def test_in_any_step_of_an_epoch(run, registry, change, words, tmp_path) -> None:
    """Weights at once, what the model is made of at the epoch's end; the checkpoint before stays as it was."""
    offer(registry, "observer", "meddles", at_step(change, when=6))
    with pytest.raises(TransferkitError, match=rf"step_end of the observer 'meddles' .* changed {words}"):
        run(observers=[{"use": "meddles"}])  # four steps an epoch
    (folder,) = tmp_path.glob("**/checkpoints/step-*")
    assert int(folder.name.removeprefix("step-")) == 4


def test_the_optimizer_and_the_reference_are_not_handed_out_but_watched(run, registry) -> None:
    @dataclasses.dataclass
    class Reaches:
        def epoch_end(self, session):
            session._session.optimizer.param_groups[0]["lr"] *= 2

    offer(registry, "observer", "reaches", Reaches)
    with pytest.raises(TransferkitError, match=r"changed the optimizer of group 0"):
        run(observers=[{"use": "reaches"}])


@pytest.mark.parametrize("name", ["optimizer", "wrapped", "accelerator", "loader", "checkpoints", "stop", "plugins"])
def test_nothing_that_trains_is_handed_out(run, registry, name) -> None:
    @dataclasses.dataclass
    class Asks:
        def step_end(self, session):
            assert not hasattr(session, name)
            assert set(dir(session)) == set(GIVEN)
            getattr(session, name)

    offer(registry, "observer", "asks", Asks)
    with pytest.raises(AttributeError, match=f"session has no {name} for plugins"):
        run(observers=[{"use": "asks"}])


def test_where_the_stage_stands_is_a_copy(run, registry) -> None:
    @dataclasses.dataclass
    class Moves:
        def step_end(self, session, step):
            assert all(getattr(session, name) is not NotImplemented for name in GIVEN)
            session.state.step = 99
            assert session.state.step == step

    offer(registry, "observer", "moves", Moves)
    assert run(observers=[{"use": "moves"}]).stages["target"]["steps"] == 8

    @dataclasses.dataclass
    class Sets:
        def step_end(self, session):
            session.seed = 3

    offer(registry, "observer", "sets", Sets)
    with pytest.raises(AttributeError, match=r"session\.seed cannot be set"):
        run(observers=[{"use": "sets"}])


def test_looking_in_eval_mode_is_no_change(run, registry) -> None:
    @dataclasses.dataclass
    class Looks:
        def step_end(self, session):
            return {"norm": session.model.head.weight.detach().norm()}

        def epoch_end(self, session):
            from transferkit.model import evaluating

            with evaluating(session.model), torch.no_grad():
                return {"mean": float(session.model(torch.zeros(2, 3, 32, 32)).logits.mean())}

    offer(registry, "observer", "looks", Looks)
    assert run(observers=[{"use": "looks"}]).status == "done"

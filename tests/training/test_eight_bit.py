"""Optimizers of bitsandbytes: refused in a sentence where it is not installed, exact over a resume where it is."""

from __future__ import annotations

import signal
import sys
import types
from importlib.util import find_spec

import pytest
import torch

from tests.training.test_loop import same, weights
from transferkit.api import resume
from transferkit.errors import InputError, Interrupted
from transferkit.recipe import load_recipe
from transferkit.recipe.schema import Optimizer
from transferkit.recipe.timm_names import BITSANDBYTES
from transferkit.testing import tiny_model
from transferkit.training.optimization import make_optimizer
from transferkit.training.trainer import Trainer

needs = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def test_names():
    assert BITSANDBYTES["adamw8bit"] == "AdamW8bit" and BITSANDBYTES["paged_adamw8bit"] == "PagedAdamW8bit"
    assert BITSANDBYTES["paged_lion"] == "PagedLion" and "paged_sgd8bit" not in BITSANDBYTES


@pytest.mark.parametrize("name", ["adamw8bit", "paged_adamw8bit", "bnbadamw8bit"])
def test_without_it_the_recipe_says_where_and_what(recipe_file, registry, monkeypatch, name):
    known = find_spec
    monkeypatch.setattr(
        "transferkit.recipe.timm_names.find_spec", lambda one: None if one == "bitsandbytes" else known(one)
    )
    with pytest.raises(InputError, match=rf'tiny\.yaml:\d+:\d+  .*"{name}" is of bitsandbytes, which is not installed'):
        load_recipe(recipe_file(optimizer={"name": name}), registry=registry)


def test_unknown_names_are_still_refused_with_a_suggestion(recipe_file, registry):
    with pytest.raises(InputError, match=r'tiny\.yaml:\d+:\d+  .*no optimizer called "adamw8bits"'):
        load_recipe(recipe_file(optimizer={"name": "adamw8bits"}), registry=registry)


def test_it_is_given_groups_rates_and_options(monkeypatch):
    """By a stand-in for the package: what it would be called with."""
    made = {}

    class AdamW8bit(torch.optim.AdamW):
        def __init__(self, params, lr, weight_decay, block_wise=True):
            made.update(lr=lr, weight_decay=weight_decay, block_wise=block_wise)
            super().__init__(params, lr=lr, weight_decay=weight_decay)

    monkeypatch.setitem(
        sys.modules, "bitsandbytes", types.SimpleNamespace(optim=types.SimpleNamespace(AdamW8bit=AdamW8bit))
    )
    monkeypatch.setattr("transferkit.training.optimization.unknown_optimizer", lambda name: None)
    options = Optimizer(
        name="adamw8bit", lr=0.01, weight_decay=0.1, head_lr_multiplier=10, options={"block_wise": False}
    )
    optimizer = make_optimizer(tiny_model(["a", "b"]), options)
    assert made == {"lr": 0.01, "weight_decay": 0.1, "block_wise": False}
    assert {group["lr_scale"] for group in optimizer.param_groups} == {1.0, 10.0}
    with pytest.raises(InputError, match=r"of bitsandbytes cannot be made: .*nonsense"):
        make_optimizer(tiny_model(["a", "b"]), options.model_copy(update={"options": {"nonsense": 1}}))


@needs
@pytest.mark.parametrize("name", ["adamw8bit", "paged_adamw8bit"])
def test_a_resumed_run_is_the_uninterrupted_one(run, monkeypatch, name):
    keys = {"optimizer": {"name": name, "lr": 1e-3}}
    whole, before = run(**keys), Trainer.save_or_stop

    def stop(self):
        if self.state.step == 5:
            states = [one for state in self.optimizer.state.values() for one in state.values() if torch.is_tensor(one)]
            assert any(one.dtype == torch.uint8 for one in states)
            self.stop.number = signal.SIGTERM
        before(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_or_stop", stop)
        with pytest.raises(Interrupted):
            run(**keys)
    stopped = max(whole.run_dir.parent.iterdir(), key=lambda folder: folder.stat().st_ctime)
    assert same(weights(resume(stopped, quiet=True).run_dir), weights(whole.run_dir))

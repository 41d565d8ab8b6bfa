"""The curriculum in real short runs: every mode with every head, exposures by hand, exact in every way it must be."""

from __future__ import annotations

import dataclasses
import os
import signal
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transferkit
from tests.plugins import interpolation_world as world
from tests.plugins.interpolation_world import N_SOURCE, N_TARGET, records, said, same, weights
from tests.training.two_processes import in_two_processes
from transferkit.api import execute, resume
from transferkit.errors import InputError, Interrupted
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry, discover
from transferkit.recipe import load_recipe

STEPS = N_TARGET // 8


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> dict[str, Any]:
    return world.write_data(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def pretrained(datasets, tmp_path_factory) -> str:
    """A model of the source task."""
    result = world.run(tmp_path_factory.mktemp("source"), datasets, dataset="source", start="scratch", epochs=1)
    return str(result.run_dir / "stages/target/model")


@pytest.fixture
def train(datasets, pretrained, tmp_path):
    def go(registry: Registry | None = None, out: str = "run", **options: Any):
        stage = {key: options.pop(key) for key in list(options) if key in STAGE_KEYS}
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        given = {"curriculum": {"use": "task_interpolation", "source": "source"} | options} if options else {}
        return world.run(folder, datasets, registry, **({"start": pretrained} | stage | given))

    return go


STAGE_KEYS = {
    "start", "epochs", "steps", "batch_size", "accumulate", "workers", "regularizers", "observers", "head_init",
    "augmentation", "batchnorm", "stream_batchnorm", "optimizer", "mixup", "balance", "fixed_features", "keep",
}  # fmt: skip


@pytest.mark.parametrize("heads", ["separate", "shared", "concat"])
@pytest.mark.parametrize("mode", ["mixture", "mixup", "coupled"])
def test_every_mode_trains_with_every_head(train, mode, heads) -> None:
    source = "three" if heads == "shared" else "source"
    result = train(mode=mode, heads=heads, source=source, epochs=5, optimizer={"name": "adamw", "lr": 3e-3})
    assert result.status == "done"
    lines = records(result)
    assert [line["lam"] for line in said(result)] == [0, 0.25, 0.5, 0.75, 1]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert lines[-1]["loss"] < 1.3 if heads != "concat" else lines[-1]["loss"] < 2.5
    assert [line["images"] for line in records(result, "val")] == [12] * 5  # the target only
    last = said(result)[-1]
    if mode == "mixture":
        by_hand = [0, 8, 24, 48, 80]  # 4 steps of 0, 2, 4, 6, 8 target images
        assert [line["target_images"] for line in said(result)] == by_hand
        assert [line["source_images"] for line in said(result)] == [32, 56, 72, 80, 80]
    else:
        assert (last["target_images"], last["source_images"]) == (4 * N_TARGET, 4 * N_TARGET)


def test_a_regularizer_sees_the_stream_it_asks_for(train) -> None:
    for on in ("target", "source", "all"):
        uses = [{"use": "bss", "weight": 0.01, "on": on}, {"use": "delta", "weight": 0.01}]
        result = train(out=on, mode="mixture", lams=[0, 1], epochs=2, regularizers=uses)
        raw = [line["terms"].get("bss", {"raw": 0.0})["raw"] for line in records(result)]
        assert (raw[0] > 0) == (on != "target")  # lam = 0: no target images
        assert (raw[-1] > 0) == (on != "source")


def test_only_the_target_is_plain_fine_tuning_bit_for_bit(train) -> None:
    """The batches are the same where they divide the data; the unused head changes nothing."""
    plain = train(out="plain", epochs=2, optimizer={"name": "momentum", "lr": 0.05})
    for mode in ("mixture", "mixup"):
        only = train(out=mode, mode=mode, lams=[1], epochs=2, optimizer={"name": "momentum", "lr": 0.05})
        assert same(plain, only), mode
        assert said(only)[-1] == {"lam": 1.0, "target_images": 2 * N_TARGET, "source_images": 0}


def test_a_run_is_a_function_of_its_seed(train) -> None:
    """Also where the source task's head is drawn, and whatever was drawn before."""
    torch.manual_seed(1)
    first = train(out="first", source_start=False, lams=[0.5, 1], epochs=2)
    torch.manual_seed(2)
    assert same(first, train(out="second", source_start=False, lams=[0.5, 1], epochs=2))


def test_sampling_by_class_may_show_an_image_twice_with_two_partners(train, registry) -> None:
    BATCHES.clear()
    result = train(
        registry, mode="mixup", lams=[0.5, 1], epochs=2, balance="sampling", observers=[{"use": "batches"}]
    )  # fmt: skip
    target, source = (np.concatenate(part[:STEPS]) for part in zip(*BATCHES, strict=True))
    assert result.status == "done" and len(np.unique(target)) < len(target) == N_TARGET
    assert len(set(zip(target, source, strict=True))) > len(np.unique(target))


def test_workers_do_not_change_it(train) -> None:
    augmented = {"augmentation": {"scale": [0.5, 1.0], "color_jitter": 0.2}, "batch_size": 7}
    for mode in ("mixture", "coupled"):
        common = augmented | {"mode": mode, "lams": [0.3, 1], "epochs": 2}
        alone, helped = (train(out=f"{mode}{workers}", workers=workers, **common) for workers in (0, 2))
        assert same(alone, helped)
        assert records(alone) == records(helped)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_continuous_lam_counts_what_it_showed(train, shape) -> None:
    result = train(shape=shape, mode="mixture", epochs=5)
    lams = [line["lam"] for line in said(result)]
    assert lams == sorted(lams) and lams[-1] == 1.0 and 0 < lams[0] < 0.2
    last = said(result)[-1]
    assert last["target_images"] + last["source_images"] == 5 * N_TARGET
    assert last["source_images"] == said(result)[-2]["source_images"]  # the last part is the target's alone
    expected = 8 * STEPS * sum(lams)
    assert abs(last["target_images"] - expected) <= 5 * STEPS


def test_a_stage_counted_in_steps_reaches_one(train) -> None:
    result = train(mode="mixture", lams=[0, 0.5, 1], epochs=None, steps=3, accumulate=1)
    assert said(result) == [{"lam": 0.5, "target_images": 0 + 4 + 8, "source_images": 8 + 4 + 0}]
    paired = train(out="paired", mode="mixup", lams=[0, 0.5, 1], epochs=None, steps=3, batch_size=4, accumulate=2)
    assert said(paired) == [{"lam": 0.5, "target_images": 16, "source_images": 16}]


def test_skipping_the_source_stage_leaves_its_epochs_to_the_others(train) -> None:
    result = train(mode="mixture", skip_source_stage=True, epochs=5)
    assert [line["lam"] for line in said(result)] == [0.25, 0.5, 0.75, 1, 1]


def test_the_pace_of_the_loss_is_logged_and_reaches_one_in_time(train) -> None:
    result = train(mode="mixture", pace="loss", band=0.05, epochs=10, optimizer={"name": "momentum", "lr": 0.05})
    lams = [line["lam"] for line in said(result)]
    assert lams[0] == 0 and lams[8:] == [1, 1] and lams == sorted(lams)
    losses = [line["loss"] for line in records(result)]
    step = 2 / 8
    for epoch in range(9):
        room = min(1, max(0, (losses[0] + 0.05 - losses[epoch]) / 0.05))
        wanted = max(lams[epoch] + room * step, 1 - step * max(0, 8 - (epoch + 1)))
        assert lams[epoch + 1] == pytest.approx(min(1, wanted))


def test_the_source_head_of_the_start_is_where_the_source_stream_starts(train, registry, pretrained) -> None:
    from transferkit.model.folder import open_model

    source, _ = open_model(Path(pretrained))
    for heads, warm in (("separate", True), ("concat", True), ("separate", False)):
        LOOKED.clear()
        only_look = {"lams": [1], "epochs": 1, "observers": [{"use": "look"}]}
        train(registry, out=f"{heads}{warm}", heads=heads, source_start=warm, **only_look)
        assert torch.equal(LOOKED[0], source.head.weight) is warm


def test_shared_heads_need_equal_class_counts(train) -> None:
    with pytest.raises(InputError, match='"source" has 4 and the target 3; use heads: separate'):
        train(heads="shared")


def test_contradictions_are_found_before_anything_starts(train) -> None:
    with pytest.raises(InputError, match="need at least 5 epochs") as caught:
        train(epochs=2, mode="mixture")
    assert "tiny.yaml" in str(caught.value)


# --- coupling -----------------------------------------------------------------------------------------------


def test_coupled_partners_are_those_of_an_independent_program(train, registry, datasets, pretrained) -> None:
    """Equal sizes, so that every image has one partner: recomputed from the model's own features."""
    from scipy.optimize import linear_sum_assignment

    from transferkit.model.folder import open_model

    BATCHES.clear()
    result = train(
        registry, mode="coupled", source="square", lams=[0.5, 1], epochs=2, augmentation={"none": True},
        observers=[{"use": "batches"}],
    )  # fmt: skip
    assert result.status == "done"
    model, _ = open_model(Path(pretrained))
    pre = model.preprocessing
    features = {}
    for name in ("target", "square"):
        pixels = torch.from_numpy(np.load(datasets[name]["npz"])["x_train"]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (pre.mean, pre.std))
        with torch.no_grad():
            features[name] = model.eval()((pixels - mean) / std).features.double().numpy()
    cost = ((features["target"][:, None] - features["square"][None]) ** 2).sum(-1)
    partners = linear_sum_assignment(cost)[1]
    for target, source in BATCHES:
        assert source.tolist() == partners[target].tolist()
    assert sum(len(target) for target, _ in BATCHES) == 2 * N_TARGET


def test_the_coupling_is_cached_and_blocks_change_it(train, monkeypatch, tmp_path) -> None:
    from transferkit_task_interpolation import coupled

    calls = []
    original = coupled.optimal_coupling
    monkeypatch.setattr(coupled, "optimal_coupling", lambda cost: calls.append(cost.shape) or original(cost))
    common = {"mode": "coupled", "lams": [0.5, 1], "epochs": 2}
    first = train(out="a", blocks=3, **common)
    assert sorted(calls) == [(10, 13), (11, 13), (11, 14)]
    assert sum(columns for _, columns in calls) == N_SOURCE
    again = train(out="b", blocks=3, **common)
    assert len(calls) == 3 and same(first, again)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "another cache"))
    anew = train(out="c", blocks=3, **common)
    assert len(calls) == 6 and same(first, anew)  # computed once more, to the same result
    whole = train(out="d", **common)
    assert calls[6:] == [(N_TARGET, N_SOURCE)] and not same(first, whole)


# --- exactness ----------------------------------------------------------------------------------------------

LOOKED: list[torch.Tensor] = []
BATCHES: list[tuple[np.ndarray, np.ndarray]] = []


@dataclasses.dataclass
class Look:
    """Writes down the source stream's head before training."""

    def setup(self, session):
        LOOKED.append(session.model.heads["source"].weight.detach().clone())


@dataclasses.dataclass
class Batches:
    """Writes down which images met."""

    def setup(self, session):
        inner = session._session.loader.epoch

        def epoch(number, start=0):
            for batch in inner(number, start):
                BATCHES.append((batch.indices["target"].numpy(), batch.indices["source"].numpy()))
                yield batch

        session._session.loader.epoch = epoch


@dataclasses.dataclass
class StopAt:
    """Sends a signal after a step, once; step 0: never."""

    step: int = 0

    def step_end(self, step):
        if step == self.step and not os.environ.get("TRANSFERKIT_TEST_STOPPED"):
            os.environ["TRANSFERKIT_TEST_STOPPED"] = "1"
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def registry() -> Registry:
    found = discover()
    for name, cls in (("stopper", StopAt), ("look", Look), ("batches", Batches)):
        module = types.ModuleType(f"transferkit_{name}")

        def transferkit_register(register: Any, name: str = name, cls: type = cls) -> None:
            register.observer(name, cls)

        module.transferkit_register = transferkit.hookimpl(transferkit_register)
        found.load(module, Owner(name, f"transferkit-{name}", "1.0"))
    return found


RESUMED = {
    "mixture": {"mode": "mixture"},
    "coupled": {"mode": "coupled", "beta": True},
    "mixup, concat": {"mode": "mixup", "heads": "concat"},
    "pace: loss": {"mode": "mixture", "pace": "loss", "band": 0.05, "batch_size": 7},
}


# in the middle of the second epoch, or at its end
@pytest.mark.parametrize(("variant", "step"), [("mixture", 6), ("coupled", 8), ("mixup, concat", 6), ("pace: loss", 6)])
def test_interrupted_is_the_same_as_uninterrupted(train, registry, monkeypatch, tmp_path, variant, step) -> None:
    common = {"augmentation": {"scale": [0.5, 1.0]}, "epochs": 3, "lams": [0, 0.4, 1]} | RESUMED[variant]
    whole = train(registry, out="whole", observers=[{"use": "stopper", "step": 0}], **common)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    with pytest.raises(Interrupted):
        train(registry, out="stopped", observers=[{"use": "stopper", "step": step}], **common)
    (run_dir,) = (tmp_path / "stopped/runs/tiny").iterdir()
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resumed = resume(run_dir, quiet=True)
    assert same(whole, resumed)
    assert records(whole) == records(resumed)
    assert records(whole, "val") == records(resumed, "val")


@pytest.mark.parametrize(
    "options", [{"pace": "loss", "lams": [0.1, 0.5, 1]}, {"mode": "coupled", "beta": True, "lams": [0, 0.5, 1]}]
)
def test_two_processes_train_what_one_trains(datasets, pretrained, tmp_path, options) -> None:
    """Batch norm is in eval mode and nothing is augmented, so that only the sums' order differs."""
    curriculum = {"use": "task_interpolation", "source": "source"} | options
    stage = {"start": pretrained, "batchnorm": "eval", "augmentation": {"none": True}, "curriculum": curriculum}
    stage |= {"epochs": 3, "batch_size": 7}  # counts that two processes cannot share evenly
    recipe = world.write_recipe(tmp_path, datasets, stage)
    one = execute(load_recipe(recipe), out=tmp_path / "one", quiet=True)
    two = Path(in_two_processes(recipe, tmp_path / "two")["run_dir"])
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(said(one), said(two), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    for ours, theirs in zip(records(one), records(two), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["images"] == ours["images"]

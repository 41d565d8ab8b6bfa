"""Stages that go on from each other: which weights, which head, which momentum, which place in the schedule."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.by_hand import WHOLE, assert_weights, cosine, opened, pictures, start_folder, train
from tests.training.conftest import CLASSES, offer
from tests.training.test_loop import Idle, StopAt, records, same, weights, without_time
from transferkit.api import resume
from transferkit.errors import InputError, Interrupted
from transferkit.training.optimization import make_optimizer
from transferkit.training.starting_model import take_over
from transferkit.training.state import load_tree

LR = 0.02
OPTIMIZERS = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=LR, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0),
}


@pytest.fixture
def chain(run, tmp_path):
    """chain(first keys, second keys): two stages on the whole tiny data set, from known weights."""

    def go(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **top: Any) -> Any:
        folder = start_folder(tmp_path / "start", CLASSES)
        common = WHOLE | {"schedule": {"name": "cosine"}, "optimizer": {"name": "momentum", "lr": LR}}
        stages = [
            common | {"name": "first", "start": str(folder), "epochs": 3, "keep": "last"} | (first or {}),
            common | {"name": "second", "start": "first", "epochs": 4, "keep": "last"} | (second or {}),
        ]
        return run(top={"stages": stages} | top)

    return go


def rates_of(run_dir: Path, stage: str) -> list[float]:
    return [record["lr"] for record in records(run_dir) if record["stage"] == stage]


def by_hand(folder: Path, npz: Path, optimizer: str, carried: list[str]) -> tuple[Any, Any, list[float]]:
    """The model after three steps, after four more, and the rates of these four."""
    model = opened(folder)
    images, labels = pictures(npz)
    rule = OPTIMIZERS[optimizer](model.parameters())
    train(model, rule, [cosine(LR, step, 3) for step in range(3)], images, labels)
    middle = copy.deepcopy(model)
    if "optimizer" not in carried:
        rule = OPTIMIZERS[optimizer](model.parameters())
    before, total = (3, 7) if "schedule" in carried else (0, 4)
    rates = [cosine(LR, before + step, total) for step in range(4)]
    train(model, rule, rates, images, labels)
    return middle, model, rates


CARRIED = [[], ["optimizer"], ["schedule"], ["optimizer", "schedule"]]


@pytest.mark.parametrize(
    ("optimizer", "carried"), [*(("momentum", carried) for carried in CARRIED), ("adamw", CARRIED[-1])]
)
def test_two_stages_are_what_a_loop_by_hand_makes_of_them(chain, tmp_path, tiny_npz, optimizer, carried) -> None:
    """The second stage has momentum, and a place in the cosine over both, only where it carries them on."""
    options = {"optimizer": {"name": optimizer, "lr": LR}}
    result = chain(options, options | {"carry_on": carried})
    middle, end, rates = by_hand(tmp_path / "start", tiny_npz, optimizer, carried)
    assert_weights(middle, weights(result.run_dir, "first"), rtol=1e-4, atol=2e-5)
    assert_weights(end, weights(result.run_dir, "second"), rtol=1e-4, atol=2e-5)
    assert rates_of(result.run_dir, "second") == pytest.approx(rates, rel=1e-6)


def test_what_is_not_carried_on_makes_a_difference(tmp_path, tiny_npz) -> None:
    """Otherwise the test above would prove nothing: its tolerance is far smaller."""
    folder = start_folder(tmp_path / "start", CLASSES)
    ends = [by_hand(folder, tiny_npz, "momentum", carried)[1].head.weight for carried in CARRIED]
    distances = [float((a - b).abs().max()) for i, a in enumerate(ends) for b in ends[:i]]
    assert min(distances) > 4e-4


def test_three_stages_share_one_schedule(run, tmp_path) -> None:
    folder = start_folder(tmp_path / "start", CLASSES)
    common = WHOLE | {"schedule": {"name": "cosine"}, "optimizer": {"name": "momentum", "lr": LR}, "keep": "last"}
    carried = {"epochs": 2, "carry_on": ["schedule"]}
    stages = [
        common | {"name": "a", "start": str(folder), "epochs": 3},
        common | {"name": "b", "start": "a"} | carried,
        common | {"name": "c", "start": "b"} | carried,
    ]
    result = run(top={"stages": stages})
    assert rates_of(result.run_dir, "c") == pytest.approx([cosine(LR, 5, 7), cosine(LR, 6, 7)])
    state = load_tree(result.run_dir / "stages/c/checkpoints/step-000002/state")
    assert (state["step"], state["steps_before"]) == (2, 5)


CARRY = {"carry_on": ["optimizer", "schedule"]}


def test_an_interrupted_chain_goes_on_exactly(chain, registry, tmp_path, monkeypatch) -> None:
    offer(registry, "observer", "idle", Idle)
    small = {"batch_size": 8, "augmentation": {"scale": [0.5, 1.0]}}
    second = small | CARRY | {"epochs": 2, "observers": [{"use": "idle", "step": 6}]}
    whole = chain(small, second)

    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    with pytest.raises(Interrupted):
        chain(small, second | {"observers": [{"use": "stopper", "name": "idle", "step": 6}]})
    run_dir = max((tmp_path / "runs" / "tiny").iterdir(), key=os.path.getmtime)
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resumed = resume(run_dir, quiet=True)
    assert same(weights(whole.run_dir, "second"), weights(resumed.run_dir, "second"))
    assert without_time(records(whole.run_dir)) == without_time(records(resumed.run_dir))


# -- what is taken over ------------------------------------------------------------------------------------------


def plan_of(run_dir: Path, carried: list[str], said: list[str]) -> Any:
    """What `carry_on` reads of a plan."""
    return SimpleNamespace(
        stage=SimpleNamespace(name="second", start="first", carry_on=carried),
        start=run_dir / "stages" / "first" / "model",
        display=SimpleNamespace(warn=said.append),
    )


@pytest.fixture
def first(chain):
    """The run folder after a first stage."""
    return chain(second={"epochs": 1}).run_dir


def options() -> Any:
    from transferkit.recipe.schema import Optimizer

    return Optimizer(name="momentum", lr=0.5)


def test_a_changed_head_starts_without_momentum(first) -> None:
    """Everything else has the buffers of the checkpoint, under this stage's own settings."""
    saved = load_tree(first / "stages/first/checkpoints/step-000003/optimizer")
    buffers = [saved["state"][index]["momentum_buffer"] for index in sorted(saved["state"])]
    assert all(buffer.abs().sum() > 0 for buffer in buffers)
    for classes in (CLASSES, ["x", "y"]):
        model = opened(first / "stages/first/model")
        model.swap_head(classes)
        optimizer = make_optimizer(model, options())
        assert take_over(plan_of(first, ["optimizer"], []), optimizer) == 0
        head = {id(parameter) for parameter in model.head.parameters()}
        found = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert len(found) == len(buffers)
        for parameter, buffer in zip(found, buffers, strict=True):
            if id(parameter) in head and len(classes) != len(CLASSES):
                assert parameter not in optimizer.state
            else:
                assert torch.equal(optimizer.state[parameter]["momentum_buffer"], buffer)
        assert {group["lr"] for group in optimizer.param_groups} == {0.5}


def test_a_stage_on_other_classes_carries_on(chain, tiny_npz) -> None:
    datasets = {
        "tiny": {"npz": str(tiny_npz)},
        "two": {"from": "tiny", "classes": ["blue", "red"]},
    }
    result = chain(second=CARRY | {"dataset": "two", "batch_size": 20, "epochs": 1}, datasets=datasets)
    entry = result.stages["second"]
    assert entry["classes"] == ["blue", "red"] and entry["images"] == {"train": 20, "val": 8}


def test_only_the_schedule(first) -> None:
    model = opened(first / "stages/first/model")
    optimizer = make_optimizer(model, options())
    assert take_over(plan_of(first, ["schedule"], []), optimizer) == 3
    assert not optimizer.state
    assert take_over(plan_of(first, [], []), optimizer) == 0


def test_a_model_with_other_parameters_is_refused(first) -> None:
    model = opened(first / "stages/first/model")
    model.add_head("source", 4)
    with pytest.raises(InputError, match="carry_on: the optimizer of the earlier stage has other parameters"):
        take_over(plan_of(first, ["optimizer"], []), make_optimizer(model, options()))


def damage(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(first) -> None:
    checkpoints = first / "stages/first/checkpoints"
    damage(checkpoints / "step-000003")
    optimizer, said = make_optimizer(opened(first / "stages/first/model"), options()), []
    assert take_over(plan_of(first, ["optimizer", "schedule"], said), optimizer) == 2
    assert len(said) == 1 and "step-000003 is damaged" in said[0] and "using step-000002 instead" in said[0]


def test_no_checkpoint_left_is_a_sentence(first) -> None:
    checkpoints = first / "stages/first/checkpoints"
    optimizer = make_optimizer(opened(first / "stages/first/model"), options())
    for folder in checkpoints.glob("step-*"):
        damage(folder)
    with pytest.raises(InputError, match=r"no valid checkpoint in .*step-000003: "):
        take_over(plan_of(first, ["optimizer"], []), optimizer)
    shutil.rmtree(checkpoints)
    sentence = r'stage "second" carries on from "first", but .*checkpoints holds no checkpoint; run that stage again'
    with pytest.raises(InputError, match=sentence):
        take_over(plan_of(first, ["optimizer"], []), optimizer)


# -- which weights are kept --------------------------------------------------------------------------------------

RUIN = {"optimizer": {"name": "momentum", "lr": 3.0}, "clip": {"value": 1.0}, "schedule": {"name": "constant"}}
LEARN = {"batch_size": 8, "batchnorm": "train", "optimizer": {"name": "adamw", "lr": 3e-3}, "epochs": 8}


def test_keep_last_keeps_the_last_weights_and_best_the_best(run, tmp_path) -> None:
    """Stages that only get worse: their start is the best, their end the last."""
    ruin = WHOLE | RUIN | {"start": "learn", "epochs": 2}
    stages = [
        WHOLE | LEARN | {"name": "learn", "start": str(start_folder(tmp_path / "start", CLASSES))},
        ruin | {"name": "best"},
        ruin | {"name": "last", "keep": "last"},
        ruin | {"name": "averaged", "keep": "last", "ema": {"decay": 0.5}},
    ]
    result = run(top={"stages": stages})
    said = "no epoch beat the source head it started with: the start was kept"
    for name, part in (("best", "model"), ("last", "model"), ("averaged", "ema")):
        entry, keep = result.stages[name], "best" if name == "best" else "last"
        assert entry["kept"] == keep
        assert entry["best"]["epoch"] == -1 and entry["best"]["top1"] > entry["last"]["top1"]
        assert entry["evaluations"]["val"]["top1"] == pytest.approx(entry[keep]["top1"])
        assert (said in entry["warnings"]) == (keep == "best")
        end = load_tree(result.run_dir / f"stages/{name}/checkpoints/step-000002" / part)
        kept = weights(result.run_dir, name)
        assert all(torch.equal(kept[key], end[f"net.{key}"]) for key in kept) == (keep == "last")
    assert same(weights(result.run_dir, "best"), weights(result.run_dir, "learn"))
    assert not same(weights(result.run_dir, "averaged"), weights(result.run_dir, "last"))


def test_a_chain_starts_from_what_the_stage_before_kept(chain) -> None:
    result = chain(RUIN | {"epochs": 2}, {"epochs": 1, "optimizer": {"name": "momentum", "lr": 1e-12}})
    first, second = weights(result.run_dir, "first"), weights(result.run_dir, "second")
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor)


# -- the head it starts with -------------------------------------------------------------------------------------


def test_a_kept_head_classifies_as_before(chain) -> None:
    """The start is evaluated like an epoch; it is exactly what the first stage ended with."""
    result = chain()
    start = next(r for r in records(result.run_dir, "val") if r["stage"] == "second")
    found = result.stages["first"]["evaluations"]["val"]
    assert (start["epoch"], start["step"], start["top1"]) == (-1, 0, found["top1"])
    assert start["loss"] == pytest.approx(found["loss"], rel=1e-6)


def heads(run_dir: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The head the second stage started with, and the one of the first stage."""
    start = load_tree(run_dir / "stages/second/checkpoints/step-000000/model")
    return start["net.fc.weight"], weights(run_dir, "first")["fc.weight"]


@pytest.mark.parametrize(
    ("dataset", "rows"),
    [
        ({"classes": ["blue", "red"]}, [2, 0]),  # by name
        ({"labels": "index,folder,name\n0,red,rot\n1,green,gruen\n2,blue,blau\n"}, [0, 1, 2]),  # by place
        ({"labels": "index,folder,name\n0,red,rot\n1,green,gruen\n2,blue,blau\n", "classes": ["blau", "rot"]}, [2, 0]),
    ],
)
def test_the_rows_that_a_stage_keeps(chain, tiny_npz, tmp_path, dataset, rows) -> None:
    if "labels" in dataset:
        (tmp_path / "labels.csv").write_text(dataset["labels"])
        dataset = dataset | {"labels": str(tmp_path / "labels.csv")}
    datasets = {"tiny": {"npz": str(tiny_npz)}, "part": {"npz": str(tiny_npz)} | dataset}
    result = chain({"epochs": 2}, {"dataset": "part", "epochs": 1}, datasets=datasets)
    kept, first = heads(result.run_dir)
    assert torch.equal(kept, first[rows])


def test_a_head_without_these_classes_is_refused(chain, tiny_npz) -> None:
    datasets = {"tiny": {"npz": str(tiny_npz)}, "two": {"from": "tiny", "classes": ["blue", "red"]}}
    world = {"world": {"kind": "target", "train": 6, "val": 3, "size": 32}}
    with pytest.raises(InputError, match=r'the source head has 3 classes, and "sign" is none of them \(2 of 2'):
        chain({"epochs": 1}, {"dataset": "world"}, datasets=datasets | {"world": world})

"""The loop as users meet it: tiny recipes, run to the end, compared bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import CLASSES, offer
from transferkit.api import execute, resume
from transferkit.errors import InputError, Interrupted, NonFiniteError
from transferkit.recipe import load_recipe
from transferkit.training.trainer import Trainer


def weights(run_dir: Path, stage: str = "target") -> dict[str, torch.Tensor]:
    return load_file(run_dir / "stages" / stage / "model" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def records(run_dir: Path, split: str = "train") -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == split]


def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


def test_it_learns_and_leaves_what_was_promised(run) -> None:
    result = run(epochs=8, optimizer={"name": "adamw", "lr": 3e-3})
    assert result.status == "done"
    assert result.stages["target"]["best"]["top1"] > 0.9
    for name in ("recipe.yaml", "env.json", "result.json", "metrics.jsonl", "run.log", "report.html"):
        assert (result.run_dir / name).is_file(), name
    assert list((result.run_dir / "tb").rglob("events*"))
    first = records(result.run_dir)[0]
    assert {"stage", "epoch", "step", "split", "loss", "top1", "lr", "terms", "seconds", "images_per_second"} <= set(
        first
    )
    assert first["images"] == 30
    assert records(result.run_dir, "val")[0]["images"] == 12
    content = json.loads((result.run_dir / "result.json").read_text())
    assert content["stages"]["target"]["model"] == "stages/target/model"
    assert content["stages"]["target"]["classes"] == CLASSES


def test_the_saved_recipe_runs_to_the_same_weights(run, registry, tmp_path) -> None:
    first = run()
    again = execute(load_recipe(first.run_dir / "recipe.yaml", registry=registry), out=tmp_path / "again", quiet=True)
    assert same(weights(first.run_dir), weights(again.run_dir))


AUGMENTED = {"augmentation": {"scale": [0.5, 1.0], "color_jitter": 0.2, "auto_augment": "rand-m5-mstd0.5"}}


def test_workers_do_not_change_a_run(run) -> None:
    alone = run(**AUGMENTED, workers=0)
    helped = run(**AUGMENTED, workers=2)
    assert same(weights(alone.run_dir), weights(helped.run_dir))
    assert without_time(records(alone.run_dir)) == without_time(records(helped.run_dir))


@dataclasses.dataclass
class StopAt:
    """Send a signal at a step, once."""

    step: int = 3

    def step_end(self, step):
        if step == self.step and not os.environ.get("TRANSFERKIT_TEST_STOPPED"):
            os.environ["TRANSFERKIT_TEST_STOPPED"] = "1"
            os.kill(os.getpid(), signal.SIGTERM)


@dataclasses.dataclass
class Idle:
    """Does nothing; keeps the recipe the same shape."""

    step: int = 3

    def step_end(self, step):
        return None


VARIANTS = {
    "plain": {},
    "augmented, adamw, cosine": AUGMENTED
    | {"optimizer": {"name": "adamw", "lr": 1e-3}, "schedule": {"name": "cosine", "warmup": 1}},
    "ema": {"ema": {"decay": 0.9}},
    "mixup, dropout": {
        "mixup": {"mixup": 0.5, "cutmix": 0.5},
        "model": {"name": "test_resnet", "options": {"drop_rate": 0.3}, "preprocessing": {"input_size": 32}},
    },
    "accumulate": {"accumulate": 2, "batch_size": 4},
    "regularized": {"regularizers": [{"use": "l2", "weight": 1e-3}, {"use": "bss", "weight": 1e-3}]},
    "weighted sampling": {"balance": "sampling"},
}


# every variant stops in the middle of an epoch (step 2); two also at its last batch (4) and in the second epoch (5)
POINTS = [(variant, 2) for variant in VARIANTS] + [(v, step) for v in ("plain", "ema") for step in (4, 5)]


@pytest.mark.parametrize(("variant", "step"), POINTS)
def test_interrupted_is_the_same_as_uninterrupted(
    run, registry, recipe_file, tmp_path, monkeypatch, variant: str, step: int
) -> None:
    offer(registry, "observer", "idle", Idle)
    whole = run(**VARIANTS[variant], observers=[{"use": "idle", "step": step}])

    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    stage = VARIANTS[variant] | {"observers": [{"use": "stopper", "name": "idle", "step": step}]}
    loaded = load_recipe(recipe_file(**stage), registry=registry)
    with pytest.raises(Interrupted) as stopped:
        execute(loaded, out=tmp_path / "stopped", quiet=True)
    assert stopped.value.exit_code == 143
    (run_dir,) = (tmp_path / "stopped" / "tiny").iterdir()
    assert json.loads((run_dir / "result.json").read_text())["status"] == "stopped"
    assert stopped.value.__notes__ == [f"go on with: transferkit resume {run_dir}"]

    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resumed = resume(run_dir, quiet=True)
    assert resumed.status == "done"
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    assert without_time(records(whole.run_dir)) == without_time(records(resumed.run_dir))
    assert without_time(records(whole.run_dir, "val")) == without_time(records(resumed.run_dir, "val"))


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_interrupted_evaluation_is_the_same_as_another(run, monkeypatch, tmp_path, epoch: int) -> None:
    """Of the last epoch too: its records hold the rates of its last step, not those of the step that comes next."""
    stage = {"schedule": {"name": "cosine"}, "optimizer": {"name": "adamw", "lr": 1e-3}}
    whole = run(**stage)
    evaluate = Trainer.evaluate

    def interrupted(session):
        if session.state.epoch == epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(session)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", interrupted)
        with pytest.raises(Interrupted):
            run(**stage)
    (stopped,) = (path for path in (tmp_path / "runs" / "tiny").iterdir() if path != whole.run_dir)
    resumed = resume(stopped, quiet=True)
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    for split in ("train", "val"):
        assert without_time(records(whole.run_dir, split)) == without_time(records(resumed.run_dir, split))


def test_accumulation_equals_the_larger_batch(run) -> None:
    """Without batch norm in train mode, two batches of 4 make the step of one batch of 8."""
    whole = run(batch_size=8, batchnorm="eval", augmentation={"none": True})
    halves = run(batch_size=4, accumulate=2, batchnorm="eval", augmentation={"none": True})
    for name, tensor in weights(whole.run_dir).items():
        torch.testing.assert_close(tensor, weights(halves.run_dir)[name], rtol=1e-4, atol=1e-5)


def test_stages_start_from_each_other_and_keep_the_source_head(run) -> None:
    from transferkit.model.folder import open_model

    stage = {"dataset": "tiny", "batch_size": 8, "workers": 0, "epochs": 1}
    result = run(
        top={
            "stages": [
                stage | {"name": "first", "start": "scratch"},
                stage | {"name": "second", "start": "first", "regularizers": [{"use": "l2_sp", "weight": 0.1}]},
            ]
        }
    )
    _, head = open_model(result.run_dir / "stages/second/model")
    first, _ = open_model(result.run_dir / "stages/first/model")
    assert head is not None
    assert torch.equal(head.weight, first.head.weight)
    assert head.classes == CLASSES


def test_a_loss_that_is_no_number_stops_with_the_weights_safe(run, registry) -> None:
    @dataclasses.dataclass
    class Explode:
        def penalty(self, features, step):
            return features.sum() * (float("nan") if step == 2 else 1.0)

    offer(registry, "regularizer", "explode", Explode)
    with pytest.raises(NonFiniteError, match="penalty explode is not finite at step 2"):
        run(regularizers=[{"use": "explode", "weight": 1e-6}])


def test_an_interrupted_stage_is_not_published(run, registry, monkeypatch, tmp_path) -> None:
    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    with pytest.raises(Interrupted):
        run(observers=[{"use": "stopper"}])
    assert not list((tmp_path / "runs").rglob("stages/target/model"))


def test_early_stopping_waits_for_its_patience(run) -> None:
    result = run(epochs=30, early_stopping={"patience": 2}, optimizer={"name": "momentum", "lr": 1e-9})
    entry = result.stages["target"]
    assert entry["stopped_early"]
    assert entry["last"]["epoch"] == entry["best"]["epoch"] + 2


def test_steps_instead_of_epochs(run) -> None:
    result = run(epochs=None, steps=5)
    assert result.stages["target"]["steps"] == 5
    assert [line["step"] for line in records(result.run_dir)] == [4, 5]


@pytest.mark.parametrize(
    "stage",
    [
        {"head_init": "ridge", "start": "first"},
        {"fixed_features": True, "start": "first"},
        {"unfreeze": {"every": 1}},
        {"freeze": ["layer1.*"]},
        {"batchnorm": "eval"},
        {"channels_last": True},
        {"compile": True, "regularizers": [{"use": "bss", "weight": 0.01}]},
        {"precision": "bf16"},
        {"clip": {"norm": 1.0}},
        {"clip": {"value": 0.1}},
        {"clip": {"agc": 0.01}},
        {"balance": "loss"},
        {"balance": "logit_adjustment"},
        {"loss": {"name": "bce", "label_smoothing": 0.1}},
        {
            "schedule": {"name": "step", "every": 1},
            "optimizer": {"lr": 1e-3, "layer_decay": 0.7, "head_lr_multiplier": 10},
        },
        {"fraction": 0.5},
    ],
    ids=str,
)
def test_every_option_trains(run, monkeypatch, stage: dict[str, Any]) -> None:
    # traced, cut into graphs and differentiated as ever, but without C++ for each: 100 s of what is torch's own
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    chained = stage.get("start") == "first"
    if not chained:
        assert run(**stage, epochs=2).status == "done"
        return
    common = {"dataset": "tiny", "batch_size": 8, "workers": 0, "epochs": 1}
    stages = [common | {"name": "first", "start": "scratch"}, common | {"name": "target"} | stage]
    result = run(top={"stages": stages})
    if stage.get("fixed_features"):
        first, last = weights(result.run_dir, "first"), weights(result.run_dir)
        changed = {name for name in last if not torch.equal(first[name], last[name])}
        assert changed == {"fc.weight", "fc.bias"}


def test_a_ridge_head_that_training_makes_worse_is_kept(run) -> None:
    common = {"dataset": "tiny", "batch_size": 8, "workers": 0}
    first = common | {"name": "first", "start": "scratch", "epochs": 8, "optimizer": {"name": "adamw", "lr": 3e-3}}
    ruin = common | {"name": "target", "start": "first", "epochs": 2, "head_init": "ridge"}
    result = run(top={"stages": [first, ruin | {"optimizer": {"name": "momentum", "lr": 3.0}, "clip": {"value": 1.0}}]})
    entry = result.stages["target"]
    assert entry["best"]["epoch"] == -1
    assert entry["best"]["top1"] > entry["last"]["top1"]
    assert entry["evaluations"]["val"]["top1"] == pytest.approx(entry["best"]["top1"])
    assert [line["epoch"] for line in records(result.run_dir, "val") if line["stage"] == "target"] == [-1, 0, 1]
    assert any("the start was kept" in warning for warning in entry["warnings"])


def test_fp16_on_a_cpu_is_refused(run) -> None:
    with pytest.raises(InputError, match="fp16"):
        run(precision="fp16")


def test_an_interrupted_repeat_goes_on(run, registry, recipe_file, tmp_path, monkeypatch) -> None:
    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    top = {"repeat": 2}
    loaded = load_recipe(recipe_file(top, observers=[{"use": "stopper"}]), registry=registry)
    with pytest.raises(Interrupted):
        execute(loaded, out=tmp_path / "stopped", quiet=True)
    (run_dir,) = (tmp_path / "stopped" / "tiny").iterdir()
    assert json.loads((run_dir / "result.json").read_text())["status"] == "stopped"
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    resumed = resume(run_dir, quiet=True)
    whole = run(top)
    assert resumed.status == "done"
    for seed in (0, 1):
        assert same(weights(whole.run_dir / f"repeats/seed-{seed}"), weights(run_dir / f"repeats/seed-{seed}"))


def test_repeat_reports_mean_and_spread(run) -> None:
    result = run(top={"repeat": 3, "seed": 5})
    assert [repeat["seed"] for repeat in result.content["repeats"]] == [5, 6, 7]
    tops = [repeat["stages"]["target"]["best"]["top1"] for repeat in result.content["repeats"]]
    best = result.stages["target"]["best"]
    assert best["top1"] == pytest.approx(sum(tops) / 3)
    assert best["sd"]["top1"] == pytest.approx(torch.tensor(tops, dtype=torch.float64).std().item())
    assert best["n"] == 3
    assert (result.run_dir / "repeats/seed-6/result.json").is_file()

"""`replay` computes what the run computed, to the bit, and leaves the run's folder as it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_pre_hook

import transferkit
from tests.training.conftest import offer
from tests.training.test_loop import StopAt
from tests.training.test_non_finite import STEEP, Broken, Steep
from transferkit.api import execute
from transferkit.cli import main
from transferkit.errors import InputError, Interrupted, NonFiniteError
from transferkit.recipe import load_recipe
from transferkit.runs.replay import replay
from transferkit.system.signals import StopSignal
from transferkit.training.progress import Display


@dataclasses.dataclass
class Recorder:
    """Keeps what every step of the run was made of: the optimizer's own gradients, and the losses."""

    grads: ClassVar[dict[int, dict[str, torch.Tensor]]] = {}
    losses: ClassVar[dict[int, dict[str, torch.Tensor]]] = {}
    rates: ClassVar[dict[int, float]] = {}

    def setup(self, session):
        named = dict(session.model.net.named_parameters()) | {
            f"heads.{name}": parameter for name, parameter in session.model.heads.named_parameters()
        }

        def keep(optimizer: Any, *rest: Any) -> None:
            found = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
            Recorder.grads[session.state.step] = found
            Recorder.rates[session.state.step] = max(group["lr"] for group in optimizer.param_groups)

        self.hook = register_optimizer_step_pre_hook(keep)  # of every optimizer: a plugin is not handed the run's

    def teardown(self):
        self.hook.remove()

    def step_end(self, step, losses):
        Recorder.losses[step - 1] = {name: value.clone() for name, value in losses.items()}


@dataclasses.dataclass
class Mixed:
    """Half of every batch is of another task, with a head of its own."""

    def streams(self, session):
        return {"source": transferkit.Stream(session.open_samples("other", "train"))}

    def mix(self, step):
        return {"source": 0.5}


@pytest.fixture
def plugins(registry, monkeypatch):
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    for kind, name, cls in [
        ("observer", "recorder", Recorder),
        ("observer", "stopper", StopAt),
        ("curriculum", "mixed", Mixed),
        ("regularizer", "broken", Broken),
        ("regularizer", "steep", Steep),
    ]:
        offer(registry, kind, name, cls)
    for kept in (Recorder.grads, Recorder.losses, Recorder.rates):
        kept.clear()


def computed(run_dir: Path, step: int | None, stage: str | None = None):
    return replay(run_dir, stage=stage, step=step, display=Display(quiet=True), stop=StopSignal())


def digest(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_as_recorded(run_dir: Path, step: int, origin: str) -> None:
    before = digest(run_dir)
    found = computed(run_dir, step)
    assert digest(run_dir) == before
    record = found.record
    assert (record["step"], record["from"], record["not_finite"]) == (step, origin, None)
    assert record["lr"] == Recorder.rates[step]
    recorded = Recorder.grads[step]
    assert recorded.keys() == found.gradients.keys()
    assert all(torch.equal(recorded[name], found.gradients[name]) for name in recorded)
    task = sum((losses.task for losses in found.losses[1:]), found.losses[0].task)
    assert torch.equal(task, Recorder.losses[step]["task"])
    for name, value in Recorder.losses[step].items():
        if name != "task":
            (key,) = (key for key in found.losses[0].weighted if key[0] == name)
            terms = [losses.weighted[key] for losses in found.losses]
            assert torch.equal(sum(terms[1:], terms[0]), value)
            (part,) = (part for part in record["parts"] if part["name"] == f"the penalty {name}")
            assert part["weighted"] == pytest.approx(float(value), rel=1e-6)
    squares = sum(float(gradient.double().square().sum()) for gradient in recorded.values())
    assert sum(layer["norm"] ** 2 for layer in record["layers"].values()) == pytest.approx(squares, rel=1e-9)


VARIANTS: dict[str, tuple[dict, dict]] = {
    "workers, mixup, dropout, average": (
        {},
        {
            "workers": 2,
            "mixup": {"mixup": 0.5, "cutmix": 0.5},
            "model": {"name": "test_resnet", "options": {"drop_rate": 0.3}, "preprocessing": {"input_size": 32}},
            "ema": {"decay": 0.9},
            "schedule": {"name": "cosine"},
        },
    ),
    "accumulation, curriculum, penalty, anchor": (
        {"other": {"world": {"kind": "digits", "train": 2, "size": 32}}},
        {
            "accumulate": 2,
            "batch_size": 4,
            "curriculum": {"use": "mixed"},
            "regularizers": [{"use": "l2", "weight": 0.1}, {"use": "bss", "weight": 1e-3}],
            "clip": {"norm": 1.0},
        },
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_is_what_the_run_computed(recipe_file, run, registry, tmp_path, tiny_npz, plugins, variant) -> None:
    """From the start of the stage, from the end of an epoch (step 4), and from within one (step 6)."""
    others, stage = VARIANTS[variant]
    top = {"datasets": {"tiny": {"npz": str(tiny_npz)}} | others}
    whole = run(top, **stage, observers=[{"use": "recorder"}])
    assert_as_recorded(whole.run_dir, 1, "the start of the stage")
    assert_as_recorded(whole.run_dir, 5, "step-000004")

    stopped = recipe_file(top, **stage, observers=[{"use": "recorder"}, {"use": "stopper", "step": 6}])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
        with pytest.raises(Interrupted):
            execute(load_recipe(stopped, registry=registry), out=tmp_path / "stopped", quiet=True)
        (run_dir,) = (tmp_path / "stopped" / "tiny").iterdir()
        assert_as_recorded(run_dir, 7, "step-000006")


@pytest.fixture
def failed(recipe_file, registry, tmp_path, plugins):
    def go(**stage) -> Path:
        with pytest.raises(NonFiniteError):
            execute(load_recipe(recipe_file(**stage), registry=registry), out=tmp_path / "failed", quiet=True)
        (run_dir,) = (tmp_path / "failed" / "tiny").iterdir()
        return run_dir

    return go


def test_a_failed_run_shows_its_failing_step(failed, tmp_path, capsys) -> None:
    run_dir = failed(regularizers=[{"use": "broken", "weight": 1.0, "at": 2}])
    found = computed(run_dir, None)
    assert (found.record["step"], found.record["from"]) == (2, "step-000002")
    task, penalty = found.record["parts"]
    assert task["not_finite"] == [] and "fc.weight" not in penalty["not_finite"] and len(penalty["not_finite"]) > 10
    assert found.record["not_finite"].startswith("the gradient of the penalty broken (in conv1.0.weight")

    shutil.rmtree(run_dir / "stages/target/checkpoints")  # without the state before it, from the start
    again = computed(run_dir, None)
    assert (again.record["step"], again.record["from"]) == (2, "the start of the stage")
    assert torch.equal(found.losses[0].task, again.losses[0].task)

    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(run_dir), "--out", str(out), "--json"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "replay.json").read_text())
    assert [one["id"].split("/")[0] for one in printed["images"]] == ["train"] * 8
    assert {one["label"] for one in printed["images"]} <= {"red", "green", "blue"}
    with Image.open(out / "target-0.png") as picture:
        assert picture.size == (4 * 34 + 2, 2 * 34 + 2)

    with pytest.raises(InputError, match=r"does not come to step 5: step 2 is not finite"):
        computed(run_dir, 5)


def test_an_update_that_ruins_the_weights_is_found(failed) -> None:
    found = computed(failed(**STEEP, epochs=None, steps=1, keep="last"), None)
    assert found.record["step"] == 0
    assert found.record["not_finite"].startswith("loss and gradients are finite, but after the update the model's ")


def test_what_is_not_there_is_answered(run, plugins, tmp_path, capsys) -> None:
    stage = {"dataset": "tiny", "batch_size": 8, "workers": 0, "epochs": 1}
    stages = [stage | {"name": "first", "start": "scratch"}, stage | {"name": "second", "start": "first"}]
    run_dir = run({"stages": stages}).run_dir
    with pytest.raises(InputError, match=r"has not failed: say which step"):
        computed(run_dir, None, "first")
    with pytest.raises(InputError, match=r"has the stages first, second: say which one"):
        computed(run_dir, 0)
    with pytest.raises(InputError, match=r'no stage called "thrid"'):
        computed(run_dir, 0, "thrid")
    with pytest.raises(InputError, match=r"has the steps 0 to 3, so there is no step 4"):
        computed(run_dir, 4, "second")
    assert computed(run_dir, 3, "second").record["from"] == "the start of the stage"
    for arguments in (["replay", str(tmp_path)], ["replay", str(run_dir), "--step", "0", "--out", str(run_dir / "a")]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert not (run_dir / "a").exists() and "only read" in capsys.readouterr().err

"""Numbers instead of classes: loss, evaluation, what is best, and a run from end to end."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from tests.stopping import stopped_at
from transferkit.api import execute, resume
from transferkit.data.batches import EvalLoader
from transferkit.data.tables import TableContents, TableSamples, open_table
from transferkit.recipe import load_recipe
from transferkit.recipe.schema import EarlyStopping, Loss
from transferkit.training.epoch_lines import scores
from transferkit.training.evaluation import Regression, evaluate, remember
from transferkit.training.metrics import Totals
from transferkit.training.objective import task_loss
from transferkit.training.workspace import State

TOP = {
    "model": {"name": "transferkit_mlp", "options": {"in_chans": 1, "img_size": [1, 10], "hidden": [16, 8]}},
    "datasets": {
        "source": {"synthetic": {"task": "source", "features": 10, "train": 256, "val": 64}},
        "target": {"synthetic": {"task": "target", "features": 10, "train": 256, "val": 64, "permuted": 4}},
        "plain": {"synthetic": {"task": "target", "features": 10, "train": 256, "val": 64}},
    },
}
STAGE = {
    "dataset": "target",
    "evaluate": ["plain"],
    "loss": {"name": "mse"},
    "batch_size": 32,
    "epochs": 3,
    "optimizer": {"name": "adam", "lr": 0.01},
}


class Linear(torch.nn.Module):
    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))

    def forward(self, images):
        from types import SimpleNamespace

        return SimpleNamespace(logits=images.flatten(1) @ self.weight[:, None])


def samples(rows: np.ndarray, outputs: np.ndarray) -> TableSamples:
    contents = TableContents.of(rows.astype(np.float32), outputs.astype(np.float32), [str(i) for i in range(len(rows))])
    return TableSamples("t", "val", open_table(contents))


def test_mse_is_the_mean_over_outputs() -> None:
    loss = task_loss(Loss(name="mse"))
    outputs = torch.tensor([[1.0], [2.0]])
    assert loss(outputs, torch.tensor([0.0, 4.0])).tolist() == [1.0, 4.0]
    assert loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]])).tolist() == [5.0]
    with pytest.raises(RuntimeError):
        loss(torch.zeros(2, 3), torch.zeros(2))


def test_loss_and_r2_against_numpy() -> None:
    rng = np.random.default_rng(0)
    rows, weight = rng.standard_normal((37, 5)), rng.standard_normal(5)
    outputs = rows @ weight + rng.standard_normal(37)
    given = samples(rows, outputs)
    found = evaluate(Linear(weight), EvalLoader(given, batch_size=8), Accelerator(cpu=True), 1)
    assert isinstance(found, Regression)
    error = (rows @ weight - outputs) ** 2
    assert found.loss == pytest.approx(error.mean(), rel=1e-5)
    assert found.r2 == pytest.approx(1 - error.sum() / ((outputs - outputs.mean()) ** 2).sum(), rel=1e-5)
    assert found.images == 37 and math.isnan(found.top1) and not found.confusion.numel()
    assert found.record(["y"]) == {"loss": found.loss, "top1": None, "r2": found.r2, "images": 37}
    assert scores(found.record(["y"])) == f"loss {found.loss:.4f} R² {found.r2:.4f}"


def test_outputs_that_do_not_vary_have_no_r2() -> None:
    given = samples(np.ones((4, 2)), np.full(4, 0.7))
    found = evaluate(Linear(np.zeros(2)), EvalLoader(given, batch_size=4), Accelerator(cpu=True), 1)
    assert found.loss == pytest.approx(0.49) and math.isnan(found.r2)


def test_the_best_has_the_lowest_loss_whatever_early_stopping_watches() -> None:
    for stopping in (None, EarlyStopping(patience=2), EarlyStopping(patience=2, metric="loss")):
        state = State()
        improved = []
        for epoch, loss in enumerate([0.5, 0.2, 0.3, 0.4]):
            state.epoch = epoch
            improved.append(remember(state, stopping, Regression(10, loss, 0.0), {}))
        assert improved == [True, True, False, False]
        assert state.best == {"epoch": 1, "top1": None, "loss": 0.2, "split": "val"}
        assert state.stopped_early is (stopping is not None)


def test_without_validation_the_last_epoch_counts() -> None:
    state = State()
    assert remember(state, None, None, {"top1": math.nan, "loss": 0.1})
    assert remember(state, None, None, {"top1": math.nan, "loss": 0.2})
    assert state.best == {"epoch": 0, "top1": None, "loss": 0.2, "split": "train"}


def test_numbers_are_not_counted_as_right_or_wrong() -> None:
    totals = Totals()
    totals.count(torch.zeros(3, 1), torch.zeros(3))
    assert math.isnan(totals.record([], 0.0, Accelerator(cpu=True))["top1"])


def test_a_run_from_end_to_end(run, capsys) -> None:
    result = run(TOP, **STAGE)
    stage = result.stages["target"]
    text = (result.run_dir / "result.json").read_text()
    assert "NaN" not in text
    saved = json.loads(text)["stages"]["target"]
    assert saved["best"]["top1"] is None and saved["best"]["loss"] < 0.6
    assert stage["best"]["loss"] == min(line["loss"] for line in lines(result) if line["split"] == "val")
    assert saved["evaluations"]["val"]["r2"] > 0.4 and saved["evaluations"]["plain"]["images"] == 64
    assert all(line["top1"] is None for line in lines(result))
    assert {line["split"] for line in lines(result)} == {"train", "val", "plain"}
    page = (result.run_dir / "report.html").read_text()
    assert "mean squared error" in page and "variance explained" in page
    shown(result.run_dir, capsys)


def shown(folder, capsys) -> None:
    from transferkit.api import RunResult
    from transferkit.cli.compare import compare
    from transferkit.cli.summary import show_result

    show_result(RunResult.of(json.loads((folder / "result.json").read_text())))
    compare([folder])
    out = capsys.readouterr().out
    assert "best loss" in out and "top-1" not in out and "PHOTO" not in out
    assert "loss on the validation split" in out


def lines(result) -> list:
    return [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]


def test_over_seeds(run) -> None:
    result = run(TOP | {"repeat": 2}, **STAGE | {"epochs": 1})
    best = json.loads((result.run_dir / "result.json").read_text())["stages"]["target"]["best"]
    assert best["top1"] is None and best["sd"]["top1"] is None
    assert best["loss"] > 0 and best["sd"]["loss"] > 0 and best["n"] == 2


def test_a_run_that_was_stopped_ends_the_same(tmp_path, registry, recipe_file) -> None:
    loaded = load_recipe(recipe_file(TOP, **STAGE), registry=registry)
    whole = execute(loaded, out=tmp_path / "whole", quiet=True)

    with stopped_at(11):
        execute(loaded, out=tmp_path / "parts", quiet=True)
    folder = next((tmp_path / "parts").glob("*/*"))
    again = resume(folder, quiet=True)
    assert again.stages["target"]["best"] == whole.stages["target"]["best"]
    assert again.stages["target"]["last"] == whole.stages["target"]["last"]


def test_a_fraction_of_the_rows(run) -> None:
    result = run(TOP, **STAGE | {"fraction": 0.25, "epochs": 1})
    assert result.stages["target"]["images"] == {"train": 64, "val": 64}


def test_the_source_head_is_where_fine_tuning_starts(run) -> None:
    first = {"name": "source", "start": "scratch", "workers": 0} | STAGE | {"dataset": "source", "evaluate": []}
    second = {"name": "target", "start": "source", "head_init": "source", "workers": 0} | STAGE
    result = run(TOP | {"stages": [first, second]})
    assert result.status == "done"
    assert next(line["epoch"] for line in lines(result) if (line["stage"], line["split"]) == ("target", "val")) == -1

"""What an analysis may know of its run: the recipe, how training went, the models of other stages."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import yaml

import transferkit
from transferkit.analysis.run_analyses import RunModels
from transferkit.analysis.session import AnalysisSession
from transferkit.errors import InputError
from transferkit.model.folder import open_model, save_model
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry, discover
from transferkit.recipe import Loaded
from transferkit.recipe.schema import Recipe
from transferkit.recipe.uses import AnalyzerUse
from transferkit.runs.folder import RunFolder
from transferkit.testing import tiny_images, tiny_model
from transferkit.training.progress import Display

from .audit_world import TARGET

LATEST = AnalyzerUse(use="whatever")
EARLIER = AnalyzerUse(use="whatever", stage="pre")


def record(stage, step, split="val", **more):
    return {"stage": stage, "step": step, "epoch": step // 4, "split": split} | more


METRICS = [record("pre", 4, "train"), record("pre", 4), record("target", 4), record("target", 8)]
EARLY = [record("pre", 0), record("target", 0), record("target", 3), record("target", 8, "noisy")]


@pytest.fixture
def run(tmp_path):
    """A run whose stages `pre` and `target` are done, and `later` is not."""
    folder = tmp_path / "run"
    folder.mkdir()
    for seed, stage in enumerate(("pre", "target")):
        save_model(folder / "stages" / stage / "model", tiny_model(TARGET, seed=seed), None)
    for name, lines in (("metrics", METRICS), ("early_steps", EARLY)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = {"epochs": 1, "dataset": "colours"}
    recipe = {
        "name": "r",
        "device": "cpu",
        "model": {"name": "test_resnet"},
        "datasets": {"colours": {"world": {"kind": "target", "train": 2, "val": 2, "size": 32}}},
        "stages": [
            {"name": "pre", **stage, "start": "scratch"},
            {"name": "later", **stage, "start": "pre"},
            {"name": "target", **stage, "start": "pre"},
        ],
    }
    loaded = Loaded(Recipe.model_validate(recipe), tmp_path / "recipe.yaml", {}, Registry())
    models = RunModels(loaded, RunFolder(folder), 0, Display(quiet=True))
    yield models
    models.close()


def session(run, use=LATEST):
    return AnalysisSession(run.workbench(use), run.folder.path, run=run.view(use))


def test_recipe_and_stage(run):
    assert session(run).recipe is run.loaded.recipe
    assert (session(run).stage_name, session(run, EARLIER).stage_name) == ("target", "pre")


def test_history_is_that_of_the_stage_in_the_order_of_steps(run):
    found = session(run).history()
    assert [(line["step"], line["split"]) for line in found] == [
        (0, "val"),
        (3, "val"),
        (4, "val"),
        (8, "val"),
        (8, "noisy"),
    ]
    assert session(run, EARLIER).history() == session(run).history("pre") == [EARLY[0], METRICS[0], METRICS[1]]
    assert session(run).history("later") == []


def test_history_without_files_or_with_one(run):
    (run.folder.path / "early_steps.jsonl").unlink()
    assert session(run).history() == METRICS[2:]
    (run.folder.path / "metrics.jsonl").unlink()
    assert session(run).history() == []


def test_the_model_of_a_stage(run):
    model = session(run).stage_model("pre")
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    saved, _ = open_model(run.folder.model("pre"))
    images = tiny_images(3)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, saved(images).logits, rtol=1e-4, atol=1e-5)
    assert session(run).stage_model("pre") is model
    assert session(run).model("source") is model  # the one that the target stage started from


def test_a_model_that_was_changed_is_not_handed_out_again(run):
    model = session(run).stage_model("target")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.head.weight.zero_()
    model.train()
    again = session(run, EARLIER).stage_model("target")
    assert all(torch.equal(before[name], tensor) for name, tensor in again.state_dict().items())
    assert not again.training


def test_stages_that_are_not_there(run):
    with pytest.raises(InputError, match='the stage "later" has no finished model yet'):
        session(run).stage_model("later")
    for ask in (session(run).stage_model, session(run).history):
        with pytest.raises(InputError, match='no stage called "traget"; did you mean "target"'):
            ask("traget")


def test_a_stage_that_finishes_afterwards_is_found(run):
    with pytest.raises(InputError):
        session(run).stage_model("later")
    save_model(run.folder.model("later"), tiny_model(TARGET, seed=5), None)
    assert session(run).stage_model("later").classes == TARGET


def test_an_audit_has_no_run(run):
    alone = AnalysisSession(run.workbench(LATEST), run.folder.path)
    assert alone.recipe is None and alone.stage_name is None and alone.history() == []
    with pytest.raises(InputError, match='an audit has no stages, so there is no model of a stage "pre"'):
        alone.stage_model("pre")


def test_in_a_run_and_in_an_audit_of_its_model(tmp_path, monkeypatch):
    """The same analyzer, on schedule, at the end, and on the finished model alone."""
    seen = []

    @dataclasses.dataclass
    class Asks:
        def analyze(self, session):
            seen.append((session.stage_name, session.recipe and session.recipe.name, len(session.history())))
            if session.recipe is not None:
                seen.append(session.history("first")[-1]["stage"])
                seen.append(session.stage_model("first").classes)
            return transferkit.Report({"one": 1.0})

    registry = discover()
    registry.add("analyzer", "asks", Asks, Owner("asks", "test", "1"))
    for place in ("recipe.load", "api"):
        monkeypatch.setattr(f"transferkit.{place}.installed", lambda: registry)
    stage = {"dataset": "wheels", "epochs": 2, "batch_size": 4, "workers": 0}
    recipe = {
        "name": "asked",
        "device": "cpu",
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 32}},
        "datasets": {"wheels": {"world": {"kind": "target", "train": 2, "val": 2, "size": 32}}},
        "stages": [
            stage | {"name": "first", "start": "scratch", "evaluate_at": [0]},
            stage | {"name": "second", "start": "first", "evaluate_at": [0, 1]},
        ],
        "analyses": [{"use": "asks", "dataset": "wheels", "every": 2}],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = transferkit.run(tmp_path / "recipe.yaml", out=tmp_path / "runs", quiet=True)
    # two early records, and train and val of each epoch: an analysis on schedule looks when both are written
    assert seen == [
        ("second", "asked", 6),
        "first",
        ["sign", "wheel"],
        ("second", "asked", 6),
        "first",
        ["sign", "wheel"],
    ]
    seen.clear()
    transferkit.audit(result.run_dir, analyses=["asks"], out=tmp_path / "audit", quiet=True)
    assert seen == [(None, None, 0)]

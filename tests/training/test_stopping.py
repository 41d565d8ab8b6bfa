"""A signal in every phase of a run: it ends, says where it was, tears nothing, and `resume` ends as if it had not."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from tests.training.conftest import offer
from tests.training.test_loop import records, same, weights, without_time
from transferkit import api
from transferkit.errors import Interrupted
from transferkit.recipe import load_recipe
from transferkit.report import Report
from transferkit.reporting import html
from transferkit.runs import runner
from transferkit.runs.folder import RunFolder
from transferkit.training import prepare, trainer
from transferkit.training.anchors import Anchor

armed: list[str] = []  # the phase in which the next signal comes, once
went_on: list[str] = []  # phases that did not end at once
analysed: list[str] = []


def here(phase: str) -> None:
    """A signal, if this is the phase, in the middle of a minute's work."""
    if armed == [phase]:
        armed.clear()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        went_on.append(phase)


@dataclass
class Watcher:
    def setup(self, session):
        here("setup")

    def anchors(self, model):
        here("anchors")
        return [Anchor(list(model.parameters()))]

    def penalty(self, features):
        here("penalty")
        return features.square().mean() * 0

    def step_end(self, step):
        here("step_end")

    def epoch_end(self, metrics):
        here("epoch_end")

    def teardown(self, session):
        here("teardown")


@dataclass
class Looker:
    metrics: ClassVar[tuple[str, ...]] = ("one",)

    def analyze(self, session):
        analysed.append(session.out.name)
        half = session.out / "half"
        half.write_text("written")
        here(f"analyze {session.out.name}")
        half.unlink()
        return Report({"one": 1.0})


PATCHED: dict[str, tuple[Any, str]] = {
    "opening the data": (prepare, "open_sources"),
    "fitting the head": (prepare, "initialise_head"),
    "drawing what is planted": (trainer, "record_corruptions"),
    "evaluation": (trainer, "evaluate"),
    "finishing": (trainer.Trainer, "evaluate_best"),
    "saving the model": (runner, "save_model"),
    "the report": (html, "write_report"),
}
PREPARING = "stopped while preparing or closing stage target"
AT_ONCE = {
    "opening the data": PREPARING,
    "fitting the head": PREPARING,
    "drawing what is planted": PREPARING,
    "setup": PREPARING,
    "anchors": PREPARING,
    "analyze epoch-0001": "stopped while analysis look looked at epoch 1",
    "analyze look": "stopped while analysis look was at work; those before it are kept",
    "finishing": "stopped while finishing stage target; its training is complete",
    "the report": "stopped while drawing report.html; everything else is done",
}
HELD = {
    "evaluation": "stopped at step 4 of stage target",
    "penalty": "stopped at step 1 of stage target",
    "step_end": "stopped at step 1 of stage target",
    "epoch_end": "stopped while analysis look looked at epoch 1",
    "saving the model": "stopped while finishing stage target; its training is complete",
    "teardown": PREPARING,
}


@pytest.fixture
def execute(registry, recipe_file, tmp_path, monkeypatch):
    offer(registry, "regularizer", "watch", Watcher)
    offer(registry, "analyzer", "look", Looker)
    for phase, (owner, name) in PATCHED.items():
        monkeypatch.setattr(owner, name, signalling(phase, getattr(owner, name)))
    top = {"analyses": [{"use": "look", "name": "first"}, {"use": "look", "name": "look", "every": 1}]}
    recipe = recipe_file(top, regularizers=[{"use": "watch", "weight": 1}])
    for noted in (armed, went_on, analysed):
        noted.clear()

    def go(folder: RunFolder | None = None) -> api.RunResult:
        if folder is None:
            return api.execute(load_recipe(recipe, registry=registry), out=tmp_path / "runs", quiet=True)
        loaded = load_recipe(folder.path / "recipe.yaml", registry=registry)
        return api.execute(loaded, folder=folder, stages=folder.result["wanted"], quiet=True)

    return go


def signalling(phase, whole):
    def run(*arguments, **more):
        here(phase)
        return whole(*arguments, **more)

    return run


@pytest.mark.parametrize(("phase", "words"), [*AT_ONCE.items(), *HELD.items()])
def test_a_signal_in_any_phase(execute, tmp_path, whole_run, phase: str, words: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    armed.append(phase)
    with pytest.raises(Interrupted) as stopped:
        execute()
    assert signal.getsignal(signal.SIGTERM) == before
    (path,) = (tmp_path / "runs" / "tiny").iterdir()
    folder = RunFolder(path)
    assert (str(stopped.value), stopped.value.exit_code) == (words, 143)
    assert stopped.value.__notes__ == [f"go on with: transferkit resume {path}"]
    assert went_on == ([phase] if phase in HELD else [])
    assert folder.result["status"] == "stopped"
    assert [left for left in path.rglob("*") if left.name.startswith(".tmp") or left.name == "half"] == []

    done = len(analysed)
    result = execute(folder)
    assert folder.result["status"] == result.status == "done"
    assert same(weights(path), whole_run["weights"])
    assert without_time(records(path)) == whole_run["records"]
    assert {p.parent.name for p in path.glob("analyses/**/report.json")} == whole_run["reports"]
    if phase == "the report":
        assert analysed[done:] == []
    if phase == "analyze look":
        assert analysed[done:] == ["look"]


@pytest.fixture
def whole_run(execute, request):
    """What comes out when nothing stops it; the same for every phase, so it is run once."""
    found = request.config.stash.get(WHOLE, None)
    if found is None:
        path = execute().run_dir
        reports = {p.parent.name for p in path.glob("analyses/**/report.json")}
        assert reports == {"first", "look", "epoch-0001", "epoch-0002"}
        found = {"weights": weights(path), "records": without_time(records(path)), "reports": reports}
        request.config.stash[WHOLE] = found
        path.rename(path.parents[2] / "whole")
        analysed.clear()
    return found


WHOLE: pytest.StashKey[dict[str, Any]] = pytest.StashKey()

"""SIGTERM and Ctrl-C in the verbs: one sentence, the signal's exit code, no parts of files, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.audit_world import TARGET, images
from transferkit.model.folder import save_model
from transferkit.testing import tiny_model

# The named function says that it is reached and then waits; a second signal finds the clean-up waiting as well.
DRIVER = """\
import importlib, os, sys, time
module, owner, name, _ = sys.argv[1].split(":")
module = importlib.import_module(module)
if owner: module = getattr(module, owner)
def wait(*arguments, **more):
    try:
        os.write(2, b"reached\\n")
        time.sleep(60)
    finally:
        os.write(2, b"leaving\\n")
        if sys.argv[1].endswith("slowly"): time.sleep(60)
setattr(module, name, wait)
from transferkit.cli import main
main() if sys.argv.pop(1) else None
"""

WORKING = "transferkit was stopped before it was done; what was not finished is not written"
VERBS = {
    "plan": ("transferkit.recipe.counting::step_plan", WORKING),
    "predict": ("transferkit.deploy.loaded:LoadedModel:__call__", "stopped while predicting; out.csv was not written"),
    "export": (
        "transferkit.deploy.portable::trace",
        "stopped while exporting; nothing was written and older exports are as they were",
    ),
    "detect": ("transferkit.deploy.loaded::load", WORKING),
    "explain": (
        "transferkit.analysis.explanations:Explainer:__call__",
        "stopped while explaining; finished pictures are in explained",
    ),
    "evaluate": ("transferkit.training.evaluation::evaluate", WORKING),
    "doctor": ("transferkit.runs.probe:Probe:few_steps", WORKING),
}
SAMPLE = [("plan", signal.SIGTERM), ("plan", signal.SIGINT), ("export", signal.SIGTERM)]
ALL = [(verb, number) for verb in VERBS for number in (signal.SIGTERM, signal.SIGINT)]
CHOSEN = ALL if os.environ.get("TRANSFERKIT_FAULTS") == "all" else SAMPLE


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("verbs")
    save_model(place / "model", tiny_model(TARGET), None, {})
    images(place / "images" / "train", TARGET)
    images(place / "images" / "val", TARGET, 2)
    stage = {"name": "target", "start": "scratch", "dataset": "d", "epochs": 1}
    recipe = {"name": "r", "model": {"name": "test_resnet"}, "datasets": {"d": {"folder": "images"}}, "stages": [stage]}
    (place / "r.yaml").write_text(json.dumps(recipe))
    return place


def arguments(verb: str) -> list[str]:
    return {
        "predict": ["model", "images", "--out", "out.csv"],
        "detect": ["model", "images", "--out", "out.csv"],
        "explain": ["model", "images"],
        "evaluate": ["model", "--data", "images"],
        "export": ["model", "--format", "pt2"],
        "plan": ["r.yaml"],
        "doctor": ["r.yaml"],
    }[verb]


def start(place: Path, where: str, verb: str) -> subprocess.Popen[str]:
    (place / "driver.py").write_text(DRIVER)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRANSFERKIT_CACHE": str(place.parent / "cache")}
    return subprocess.Popen(
        [sys.executable, "driver.py", where, verb, *arguments(verb)],
        cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip() == word:
            return
    raise AssertionError(f"it ended before it was {word}")


def tree(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize(("verb", "number"), CHOSEN)
def test_a_verb_that_is_stopped(place: Path, verb: str, number: int) -> None:
    where, words = VERBS[verb]
    before = tree(place)
    process = start(place, f"{where}:", verb)
    until(process, "reached")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert said.splitlines() == ["leaving", words]
    assert tree(place) - before <= {"driver.py"}


def test_a_second_and_a_third_signal_end_at_once_and_leave_nothing(place: Path) -> None:
    before = tree(place)
    process = start(place, f"{VERBS['predict'][0]}:slowly", "predict")
    until(process, "reached")
    process.send_signal(signal.SIGTERM)
    until(process, "leaving")  # the clean-up takes a minute
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode in (143, 130) and said in ("", "stopped while predicting; out.csv was not written\n")
    assert tree(place) - before <= {"driver.py"}

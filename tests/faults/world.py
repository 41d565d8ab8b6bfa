"""The run that is attacked: two stages with evaluation, a best epoch, EMA, a curriculum, a corruption and analyses.

Attacks fork from a process in which everything is imported, so that each costs a second instead of ten.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

RECIPE: dict[str, Any] = {
    "name": "attacked",
    "device": "cpu",
    "threads": 1,
    "model": {"name": "test_resnet", "preprocessing": {"input_size": 16}},
    "datasets": {
        "shapes": {"world": {"kind": "source", "train": 4, "val": 2, "size": 16}},
        "task": {"world": {"kind": "target", "train": 8, "val": 4, "size": 16}},
        "marked": {"from": "task", "corruptions": [{"use": "correlated_patch", "ratio": 0.5}]},
    },
    "stages": [
        {
            "name": "source", "start": "scratch", "dataset": "shapes", "epochs": 2, "batch_size": 24, "workers": 0,
            "optimizer": {"name": "adamw", "lr": 3e-3}, "ema": {"decay": 0.9}, "checkpoints": {"keep": 1},
        },
        {
            "name": "target", "start": "source", "dataset": "marked", "evaluate": ["task"], "epochs": 4,
            "batch_size": 16, "workers": 0, "optimizer": {"name": "momentum", "lr": 0.05},
            "evaluate_at": [1], "regularizers": [{"use": "l2_sp", "weight": 0.01}],
            "curriculum": {"use": "task_interpolation", "source": "shapes", "lams": [0.5, 1.0]},
        },
    ],
    "analyses": [{"use": "retention", "dataset": "shapes"}, {"use": "spectrum", "stage": "target"}],
}  # fmt: skip
PATIENCE = 200.0  # seconds; the attacked run takes two
TIMED = {"seconds", "images_per_second", "run_dir", "started"}


def write_recipe(folder: Path) -> Path:
    """The recipe as a file."""
    path = folder / "attacked.yaml"
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return path


@dataclass(frozen=True)
class Ended:
    """How a forked command ended: its exit code or minus the signal, and what it said on standard error."""

    code: int
    said: str

    @property
    def crashed(self) -> bool:
        """Whether a traceback was shown."""
        return "Traceback" in self.said

    @property
    def sentence(self) -> bool:
        """Whether it ended with an error of ours, in a sentence."""
        return self.code in (1, 2, 3, 4, 130, 143) and not self.crashed and bool(self.said.strip())


def forked(
    command: list[str], log: Path, before: Callable[[], None] | None = None, after: float | None = None
) -> Ended:
    """A transferkit command in a child; `before` prepares the attack there, `after` seconds it is killed.

    One that hangs is killed after PATIENCE, and said to.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _command(command, log, before)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    hangs = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    hangs.start()
    _, status = os.waitpid(child, 0)
    hung = not hangs.is_alive()
    hangs.cancel()
    said = log.read_text(errors="replace") if log.is_file() else ""
    return Ended(os.waitstatus_to_exitcode(status), f"it hung for {PATIENCE} s\n{said}" if hung else said)


def _command(command: list[str], log: Path, before: Callable[[], None] | None) -> None:
    """In the child: never returns."""
    code = 70
    try:
        os.setpgid(0, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.argv = ["transferkit", *command]
        from transferkit.cli import main

        if before is not None:
            before()
        try:
            main(command)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run_folder(out: Path) -> Path | None:
    """The one run in there, if it has begun."""
    found = [path for path in (out / "attacked").glob("*") if not path.name.startswith(".")]
    return found[0] if found else None


def outcome(run: Path) -> dict[str, Any]:
    """Everything a finished run promises, without times and places: equal for equal runs."""
    found: dict[str, Any] = {"result": _plain(json.loads((run / "result.json").read_text()))}
    for name in ("metrics.jsonl", "early_steps.jsonl"):
        found[name] = [_plain(json.loads(line)) for line in (run / name).read_text().splitlines()]
    for stage in ("source", "target"):
        tensors = load_file(run / f"stages/{stage}/model/model.safetensors")
        found[f"weights of {stage}"] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    for path in sorted((run / "analyses").glob("*/report.json")):
        found[f"report of {path.parent.name}"] = _plain(json.loads(path.read_text()))
    found["corruptions"] = (run / "stages/target/corruptions.csv").read_bytes()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in TIMED}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def difference(run: Path, whole: dict[str, Any]) -> str | None:
    """What of a resumed run is not as in the whole one, in a word; None where nothing is."""
    try:
        found = outcome(run)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return next((name for name in whole if found.get(name) != whole[name]), None)

"""A new run folder, which can be resumed from its first moment on; and stages that were trained elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.recipe import Loaded
from transferkit.recipe.plugin_files import COPIES
from transferkit.runs.folder import RunFolder, environment_text, result_text
from transferkit.system.atomic import make_folder, storing, write_text

METRICS = "metrics.jsonl"


def new_run(
    loaded: Loaded, out: Path, wanted: Sequence[str], facts: Mapping[str, Any], folder: tuple[str, str] | None = None
) -> RunFolder:
    """`out/RECIPE/TIME/`, or the `folder` of two names. Raises InputError where it cannot be made."""
    files: dict[str, str | bytes] = {f"{COPIES}/{file.path.name}": file.content for file in loaded.files} | {
        "recipe.yaml": loaded.dump(),
        "env.json": environment_text(seed=loaded.recipe.seed, **facts),
        "result.json": result_text({"status": "running", "stages": {}, "analyses": {}, "wanted": list(wanted)}),
    }
    parent, name = folder or (loaded.recipe.name, None)
    return RunFolder.create(out, parent, files, name)


def take_stage(run: RunFolder, stage: str, finished: RunFolder) -> None:
    """Give a run a stage that another run has finished, as if it had trained it itself. Raises StorageError.

    Files are linked where the disk can: nothing in a finished stage is written again, only replaced.
    """
    entry, into = finished.result["stages"][stage], run.stage(stage)
    with storing(str(into)):
        shutil.rmtree(into, ignore_errors=True)
        make_folder(into.parent)
        beginning = into.with_name(f".tmp-{into.name}-{os.getpid()}")
        shutil.copytree(finished.stage(stage), beginning, copy_function=_link)
        os.replace(beginning, into)
        others = [line for line in _lines(run) if json.loads(line).get("stage") != stage]
        own = [line for line in _lines(finished) if json.loads(line).get("stage") == stage]
        write_text(run.path / METRICS, "".join(f"{line}\n" for line in [*others, *own]))
    result = run.result
    result["stages"][stage] = entry
    run.write_result(result)


def _lines(run: RunFolder) -> list[str]:
    path = run.path / METRICS
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

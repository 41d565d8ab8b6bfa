"""A run folder as data: what `result.json`, `metrics.jsonl`, `recipe.yaml` and `env.json` say.

An audit's folder has no stages, and `audit.json` in the place of the recipe. Used by the report page and by `compare`;
reads files and imports neither torch nor the recipe's plugins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.analysis.shape import AUDIT, LINE, RECIPE, REPORT, RESULT, fitting, read_shaped
from transferkit.atomic import read_json
from transferkit.errors import InputError
from transferkit.run_lock import owner_of

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class RunFolder:
    """The recorded facts of one run or audit; missing files are empty."""

    path: Path
    result: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    recipe: Mapping[str, Any]
    env: Mapping[str, Any]
    audit: Mapping[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What is damaged in its files and was left out, in sentences."""

    @property
    def kind(self) -> str:
        """What people call it: run, or audit."""
        return "audit" if (self.path / "audit.json").is_file() else "run"

    @property
    def status(self) -> str:
        """How it stands or ended: what result.json says, and "killed" for one that could not come to say how."""
        status = str(self.result.get("status") or "unknown")
        return "killed" if status == "running" and owner_of(self.path) is None else status

    @property
    def stages(self) -> Mapping[str, Any]:
        """{stage name: what result.json says of it}."""
        return {name: stage or {} for name, stage in (self.result.get("stages") or {}).items()}

    @property
    def repeats(self) -> list[Mapping[str, Any]]:
        """The runs over seeds that this run is the mean of; usually none."""
        return [repeat or {} for repeat in self.result.get("repeats") or []]

    def stage_recipe(self, name: str) -> Mapping[str, Any]:
        """The stage as the resolved recipe has it, or nothing."""
        stages: list[Mapping[str, Any] | None] = self.recipe.get("stages") or []
        for stage in stages:
            if stage is not None and stage.get("name") == name:
                return stage
        return {}

    def model_name(self, stage: str) -> str:
        """The timm name of the stage's model."""
        own = self.stage_recipe(stage).get("model") or self.recipe.get("model") or {}
        return str(own.get("name", ""))

    def lines(self, stage: str) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl of that stage."""
        return [line for line in self.metrics if line.get("stage") == stage]

    def seconds(self, stage: str | None = None) -> float | None:
        """How long the stage (or all of them) took: from result.json, else the sum over metrics.jsonl."""
        chosen = [entry for name, entry in self.stages.items() if stage in (None, name)]
        if chosen and all(isinstance(entry.get("seconds"), int | float) for entry in chosen):
            return float(sum(entry["seconds"] for entry in chosen))
        found = [
            line["seconds"]
            for line in self.metrics
            if isinstance(line.get("seconds"), int | float) and stage in (None, line.get("stage"))
        ]
        return float(sum(found)) if found else None


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run."""
    return (folder / "result.json").is_file()


def read_run(folder: Path) -> RunFolder:
    """Read a run folder. Raises InputError when it is none or when result.json is damaged."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a run, such as runs/NAME/20260101-120000-ab12")
    if not is_run(folder):
        raise InputError(f"{folder} is not a run folder: it has no result.json")
    problems: list[str] = []
    result = fitting(read_json(folder / "result.json"), RESULT, "result.json", problems)
    return RunFolder(
        folder,
        result,
        _metrics(folder / "metrics.jsonl", problems),
        _recipe(folder / "recipe.yaml", problems),
        _json(folder / "env.json", {}, problems),
        _json(folder / "audit.json", AUDIT, problems),
        problems,
    )


def read_report(path: Path, problems: list[str]) -> dict[str, Any]:
    """An analysis's report.json, without what is damaged, which is said in `problems`."""
    return read_shaped(path, REPORT, problems, "/".join(path.parts[-3:]))


def _metrics(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The valid lines: a run that was killed may have left half a line at the end."""
    lines, foreign = [], 0
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            wrong: list[str] = []
            try:
                line = fitting(json.loads(text), LINE, "line", wrong)
            except (ValueError, RecursionError):
                line = None
            if isinstance(line, dict) and not wrong:
                lines.append(line)
            else:
                foreign += 1
    if foreign > 1:
        problems.append(f"metrics.jsonl: {foreign} lines are left out, which are no records of epochs")
    return lines


def _json(path: Path, shape: Any, problems: list[str]) -> dict[str, Any]:
    return read_shaped(path, shape, problems) if path.is_file() else {}


def _recipe(path: Path, problems: list[str]) -> Mapping[str, Any]:
    from transferkit.recipe import yaml

    if not path.is_file():
        return {}
    try:
        recipe: Mapping[str, Any] = fitting(yaml.read(path).plain(), RECIPE, path.name, problems)
    except InputError as error:
        problems.append(f"{path.name} is left out: {error.problems[0].message}")
        return {}
    return recipe


def validation_images(run: RunFolder, name: str) -> int | None:
    """How many validation images the stage has: from result.json, else from the last line about them."""
    stage = run.stages.get(name) or {}
    images = stage.get("images")
    if isinstance(images, Mapping):
        images = images.get("val")
    total = int(sum(sum(row) for row in stage.get("confusion") or []))
    lines = [line.get("images") for line in run.lines(name) if line.get("split") == "val"]
    found = (images, total, *reversed(lines))
    return next((count for count in found if isinstance(count, int) and count > 0), None)


def class_names(stage: Mapping[str, Any]) -> list[str]:
    """The stage's class names in label order, if recorded."""
    return [str(name) for name in stage.get("classes") or []]


def wilson(share: float, total: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share of `total` trials: (low, high) within 0..1."""
    if total <= 0:
        raise ValueError(f"the interval needs at least one trial, not {total}")
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def sample_sd(values: list[float]) -> float | None:
    """The standard deviation with n - 1 in the denominator; None below two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))

"""A run folder as data: what `result.json`, `metrics.jsonl`, `recipe.yaml` and `env.json` say.

An audit's folder has no stages, and `audit.json` in the place of the recipe. Used by the report page and by `compare`;
reads files and imports neither torch nor the recipe's plugins. What does not have the shape that readers rely on is
left out, with a word about it: further keys pass as they are, and null stands for what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.report import Metric
from transferkit.runs.folder import newest_in
from transferkit.system.atomic import read_json
from transferkit.system.run_lock import owner_of

if TYPE_CHECKING:
    from transferkit.plugins.kinds import Kind

ANYTHING, NUMBER, WHOLE, TEXT = object(), float, int, str
_MEASURED = {"mean": NUMBER, "sd": NUMBER, "low": NUMBER, "high": NUMBER, "n": NUMBER, "values": {...: NUMBER}}
_EPOCH = {
    **dict.fromkeys(("epoch", "top1", "loss", "selected"), NUMBER),
    **dict.fromkeys(("split", "select"), TEXT),
    "sd": {...: NUMBER},
}
_EVALUATION = {
    **dict.fromkeys(("top1", "top5", "loss", "r2", "images"), NUMBER),
    "sd": {...: NUMBER},
    "per_class": {...: NUMBER},
    "metrics": {...: {...: NUMBER}},
}
_EDIT = {
    **dict.fromkeys(("use", "name"), TEXT),
    "before": {...: _EVALUATION},
    "after": {...: _EVALUATION},
    "change": {...: {...: NUMBER}},
    "numbers": {...: NUMBER},
    "notes": [ANYTHING],
    "seconds": NUMBER,
}
_STAGE = {
    "best": _EPOCH,
    "last": _EPOCH,
    **dict.fromkeys(("model", "kept"), TEXT),
    "seconds": NUMBER,
    "classes": [ANYTHING],
    "warnings": [ANYTHING],
    "confusion": [[NUMBER]],
    "images_seen": {...: NUMBER},
    "evaluations": {...: _EVALUATION},
    "edits": [_EDIT],
}
_STAGES, _ANALYSES = {...: _STAGE}, {...: TEXT}
RESULT = {
    "stages": _STAGES,
    "analyses": _ANALYSES,
    "repeats": [{"seed": WHOLE, "fold": WHOLE, "run_dir": TEXT, "stages": _STAGES, "analyses": _ANALYSES}],
    "metrics": {...: {...: _MEASURED}},
    "findings": [{...: ANYTHING}],
    "out_of_fold": {...: {"file": TEXT, "images": NUMBER, "top1": NUMBER, "over_folds": {...: NUMBER}}},
    "warnings": [ANYTHING],
    "seconds": NUMBER,
}
REPORT = {
    **dict.fromkeys(("plugin", "version", "verdict"), TEXT),
    "figures": [ANYTHING],
    "notes": [ANYTHING],
    "gaps": [ANYTHING],
    "metrics": {...: NUMBER},
    "parameters": {...: ANYTHING},
    "captions": {...: TEXT},
    "tables": {...: {"columns": [ANYTHING], "rows": [[ANYTHING]]}},
}
RECIPE = {
    "name": TEXT,
    "seed": WHOLE,
    "model": {...: ANYTHING},
    "datasets": {...: {...: ANYTHING}},
    "stages": [{"name": TEXT, "start": TEXT, "dataset": TEXT, "model": {...: ANYTHING}}],
}
AUDIT = {key: {...: ANYTHING} for key in ("models", "data", "inherited")}
LINE = {
    **dict.fromkeys(("epoch", "step", "loss", "top1", "lr", "lr_head", "seconds", "images"), NUMBER),
    **dict.fromkeys(("stage", "split"), TEXT),
    "terms": {...: {...: ANYTHING}},
    "per_class": {...: NUMBER},
    "metrics": {...: {...: NUMBER}},
}


@dataclass(frozen=True)
class RunRecord:
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
        return next((stage for stage in stages if stage is not None and stage.get("name") == name), {})

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
        lines = self.metrics if stage is None else self.lines(stage)
        found = [line["seconds"] for line in lines if isinstance(line.get("seconds"), int | float)]
        return float(sum(found)) if found else None


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run."""
    return (folder / "result.json").is_file()


def read_run(folder: Path) -> RunRecord:
    """Read a run folder. Raises InputError when it is none or when result.json is damaged."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a run, such as runs/NAME/20260101-120000-ab12")
    if not is_run(folder):
        raise InputError(f"{folder} is not a run folder: it has no result.json{newest_in(folder)}")
    problems: list[str] = []
    result = fitting(read_json(folder / "result.json"), RESULT, "result.json", problems)
    return RunRecord(
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


def validation_images(run: RunRecord, name: str) -> int | None:
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


def fitting(value: Any, shape: Any, place: str, problems: list[str]) -> Any:
    """The value without the parts that do not fit; each of them is one sentence in `problems`.

    A shape is `NUMBER`, `WHOLE`, `TEXT` or `ANYTHING`, a list of one shape, or {key: shape}; `...` is every other key.
    """
    if value is None or shape is ANYTHING:
        return value
    if isinstance(shape, dict) and isinstance(value, Mapping):
        other = shape.get(..., ANYTHING)
        return {key: fitting(inner, shape.get(key, other), f"{place}.{key}", problems) for key, inner in value.items()}
    if isinstance(shape, list) and isinstance(value, list):
        return [fitting(inner, shape[0], f"{place}[{index}]", problems) for index, inner in enumerate(value)]
    if isinstance(value, str) if shape is TEXT else (shape is NUMBER or shape is WHOLE) and _is_number(value, shape):
        return value
    plain = {TEXT: "text", NUMBER: "a number", WHOLE: "a whole number"}
    wanted = "a mapping" if isinstance(shape, dict) else "a list" if isinstance(shape, list) else plain[shape]
    problems.append(f"{place} is left out: {wanted} is expected there, not {_short(value)}")
    return None


def read_shaped(path: Path, shape: Any, problems: list[str], name: str | None = None) -> dict[str, Any]:
    """A small JSON file with what has its shape; empty, with a sentence in `problems`, where it cannot be read."""
    try:
        content: dict[str, Any] = fitting(read_json(path), shape, name or path.name, problems)
    except InputError as error:
        problems.append(str(error).replace(str(path), name or path.name, 1))
        return {}
    return content


def _is_number(value: Any, shape: type) -> bool:
    """A number that arithmetic can use; true and false are none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return shape is NUMBER and isinstance(value, float)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def declaration(plugin: Any, kind: Kind = "analyzer") -> Declared:
    """What the plugin of that name says of itself; nothing of one that is not installed or broken."""
    from transferkit.plugins.files import known

    try:
        return known().get(kind, str(plugin)).declared
    except InputError:
        return Declared()


def declared_by(plugin: Any, kind: Kind = "analyzer") -> dict[str, Metric]:
    """{key: metric} of that plugin, in its order."""
    return {metric.key: metric for metric in declaration(plugin, kind).metrics}


def written_by(reports: Iterable[Path]) -> str:
    """The name of the analyzer that wrote the first of these report.json that can be read, or nothing."""
    for path in reports:
        try:
            report: Mapping[str, Any] = read_json(path)
            return str(report["plugin"])
        except (KeyError, TypeError, InputError):
            continue
    return ""


def declared_in(reports: Iterable[Path]) -> dict[str, Metric]:
    """{key: metric} of that analyzer."""
    return declared_by(written_by(reports))


def ends_of(known: Mapping[str, Metric]) -> set[str]:
    """The keys that are an end of an interval."""
    return {key for metric in known.values() for key in metric.keys[1:]}


def of(known: Mapping[str, Metric], key: str) -> Metric:
    """The metric of that key; one of which only the key is known where it is not declared."""
    return known.get(key) or Metric(key, key)

"""The shapes of the small files of a run folder. What does not have its shape is left out, with a word about it.

Only what a reader relies on is described: further keys pass as they are, and null stands for what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.atomic import read_json
from transferkit.errors import InputError

ANYTHING, NUMBER, WHOLE, TEXT = object(), float, int, str
_MEASURED = {"mean": NUMBER, "sd": NUMBER, "low": NUMBER, "high": NUMBER, "n": NUMBER, "values": {...: NUMBER}}
_EPOCH = {"epoch": NUMBER, "top1": NUMBER, "loss": NUMBER, "split": TEXT, "sd": {...: NUMBER}}
_EVALUATION = {
    **dict.fromkeys(("top1", "top5", "loss", "r2", "images"), NUMBER),
    "sd": {...: NUMBER},
    "per_class": {...: NUMBER},
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
}
_STAGES, _ANALYSES = {...: _STAGE}, {...: TEXT}
RESULT = {
    "stages": _STAGES,
    "analyses": _ANALYSES,
    "repeats": [{"seed": WHOLE, "run_dir": TEXT, "stages": _STAGES, "analyses": _ANALYSES}],
    "metrics": {...: {...: _MEASURED}},
    "findings": [{...: ANYTHING}],
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
AUDIT = {"models": {...: ANYTHING}, "data": {...: ANYTHING}}
LINE = {
    **dict.fromkeys(("epoch", "step", "loss", "top1", "lr", "lr_head", "seconds", "images"), NUMBER),
    **dict.fromkeys(("stage", "split"), TEXT),
    "terms": {...: {...: ANYTHING}},
    "per_class": {...: NUMBER},
}


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

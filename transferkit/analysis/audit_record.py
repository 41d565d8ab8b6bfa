"""audit.json: what was given to an audit, what it was understood as, and every parameter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from transferkit.analysis.audit_inputs import Inputs
from transferkit.analysis.workbench import Workbench, has_classifier
from transferkit.atomic import write_text
from transferkit.folder import RunFolder
from transferkit.report import finite


def write_record(folder: RunFolder, facts: Mapping[str, Any], inputs: Inputs, bench: Workbench | None) -> None:
    """Write audit.json and env.json; `bench` is given once models and images are open."""
    content: dict[str, Any] = {**facts, "models": {}, "data": {}}
    for kind, texts in inputs.given.items():
        for role, text in texts.items():
            content[kind][role] = {"given": text}
            if bench is not None:
                content[kind][role] |= _model(bench, role) if kind == "models" else _data(bench, role)
    if bench is not None:
        content["class_mapping"] = bench.class_list.how
    write_text(folder.path / "audit.json", json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n")
    folder.write_environment(seed=facts["seed"], device=facts["device"])


def _model(bench: Workbench, role: str) -> dict[str, Any]:
    model = bench.model(role)
    height, width = model.preprocessing.input_size
    outputs = f"{len(model.classes)} classes" if has_classifier(model) else "no classifier"
    return {
        "description": f"{model.architecture}, {outputs}, {height}x{width} pixels",
        "architecture": model.architecture,
        "options": model.options,
        "preprocessing": model.preprocessing.to_json(),
        "content": bench.given(role).digest,
    }


def _data(bench: Workbench, role: str) -> dict[str, Any]:
    splits = dict(_splits(bench, role))
    looked_at = bench.default_split(role)
    used = splits[looked_at]
    return {
        "description": f"{used['images']} images of {used['classes']} of {used['of']} classes ({looked_at} split)",
        "splits": splits,
        "left_out": sum(split["left_out"] for split in splits.values()),
    }


def _splits(bench: Workbench, role: str) -> Iterator[tuple[str, dict[str, int]]]:
    for split in ("train", "val", "test"):
        part = bench.part(role, split)
        if part is not None:
            yield (
                split,
                {
                    "images": len(part.readable),
                    "classes": len(np.unique(part.source.labels[part.readable])),
                    "of": len(part.source.classes),
                    "left_out": len(part.left_out),
                },
            )

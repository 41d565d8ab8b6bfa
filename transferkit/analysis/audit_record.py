"""audit.json: what was given to an audit, what it was understood as, and every parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from transferkit.analysis.audit_inputs import Inputs
from transferkit.analysis.workbench import Workbench, has_classifier
from transferkit.folder import RunFolder
from transferkit.report import write_json


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
    write_json(folder.path / "audit.json", content)
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
        source = bench.source(role, split)
        if source is not None:
            yield (
                split,
                {
                    "images": len(source),
                    "classes": len(np.unique(source.labels)),
                    "of": len(source.classes),
                    "left_out": len(source.bad_images),
                },
            )

"""Made-up run folders."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

RESULT = {
    "status": "done",
    "stages": {
        "target": {
            "best": {"epoch": 3, "top1": 144 / 153, "loss": 0.213},
            "last": {"epoch": 4, "top1": 143 / 153, "loss": 0.25},
            "model": "stages/target/model",
            "classes": ["ants <b>", "bees & co"],
            "images": 153,
            "confusion": [[64, 6], [3, 80]],
            "warnings": ["bss: a numerical <no-op>"],
        }
    },
}
RECIPE = {
    "name": "ants<script>",
    "seed": 3,
    "model": {"name": "resnet18"},
    "stages": [{"name": "target", "start": "pretrained", "dataset": "ants", "epochs": 5}],
}


def metrics(stage="target", epochs=5):
    lines = []
    for epoch in range(epochs):
        terms = {"bss": {"raw": 1.0, "weighted": 1e-4}, "l2_sp": {"raw": 1.0, "weighted": 0.1 * (epoch + 1)}}
        common = {"stage": stage, "epoch": epoch, "step": 10 * epoch}
        loss = 1 / (epoch + 1)
        train = {"split": "train", "loss": loss, "top1": 0.9, "lr": 0.01, "lr_head": 0.1, "terms": terms, "seconds": 2}
        val = {"split": "val", "loss": loss + 0.1, "top1": 0.8, "terms": {}, "images": 153}
        lines += [common | train, common | val | {"per_class": {"ants <b>": 64 / 70, "bees & co": 80 / 83}}]
    return lines


def write_run(folder: Path, result=None, recipe=None, lines=None, env=None) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(RESULT if result is None else result))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE if recipe is None else recipe, sort_keys=False))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (lines or [])))
    (folder / "env.json").write_text(json.dumps(env or {"versions": {"torch": "2.5"}, "argv": ["a b", "c"]}))
    return folder

"""Made-up folders of runs and audits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from transferkit.report import Report, Table

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


AUDIT = {
    "name": "ants",
    "seed": 7,
    "models": {
        "target": {"given": "runs/<ants>/target/model", "description": "resnet18, 2 classes"},
        "baseline": {"given": "runs/ants/baseline/model", "description": "resnet18 from scratch"},
        "source": {"given": "resnet18", "description": "resnet18, 1000 classes"},
    },
    "data": {
        "target": {"given": "data/ants & bees", "description": "train 244, val 153 images"},
        "source": {"given": "data/imagenet", "description": "50 classes of 1000"},
    },
    "parameters": {"k": 5, "v_lo": 0.001},
}
STRANGE = [
    "<script>alert(1)</script>", 'a"onerror="x', "R&D &amp;", "🐜", "נמלה",
    "\u202eevil", "a\x00b", "$x_{$ $", "=1+1",
]  # fmt: skip


BIAS = Report(
    {"high": 0.213, "overdispersion": float("nan")},
    {
        "classes": Table(["class", "name", "share"], [[i, f"name {i}", i / 60] for i in range(60)], folded=True),
        "groups": Table(["group", "classes"], [["high", 213]]),
    },
    verdict="213 of 1000 classes are called bees at least four times in five.",
    notes=["50 images per class; chance is 50 %."],
    gaps=["The overdispersion of the baseline: no baseline was given."],
)


def write_audit(folder: Path, reports: Mapping[str, Report] | None = None, audit=None, **result) -> Path:
    """An audit's folder with these reports, named after their analyzers."""
    reports = reports or {}
    folder.mkdir(parents=True)
    paths = {name: f"analyses/{name}/report.json" for name in reports}
    status = {"status": "done", "stages": {}, "analyses": paths, **result}
    (folder / "result.json").write_text(json.dumps(status))
    (folder / "audit.json").write_text(json.dumps(AUDIT if audit is None else audit))
    for name, report in reports.items():
        facts = {"plugin": name, "version": "0.1.0", "parameters": {"seed": 7}}
        report.write(folder / "analyses" / name, name=name, **facts)
    return folder

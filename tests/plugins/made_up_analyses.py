"""Runs and audits with made-up reports, as folders."""

from __future__ import annotations

import json

import yaml

from transferkit.report import Report, Table

CLASSES = ["tench", "goldfish", "cock", "hen", "ostrich", "brambling"]


def retention(recall, names=CLASSES, images=10, ratio=0.5):
    rows = [[i, name, images, 1.0, value, value] for i, (name, value) in enumerate(zip(names, recall, strict=True))]
    columns = ["class", "name", "images", "recall_source", "recall_head_swap", "relative_retention"]
    metrics = {"top1_source": 1.0, "top1_head_swap": ratio, "relative_retention": ratio}
    return Report(
        metrics, {"histogram": Table(["recall", "head_swap"], [["all", 1]]), "retention": Table(columns, rows)}
    )


def bias(shares, names=CLASSES, images=10, targets=("ants", "bees"), overdispersion=3.0):
    rows = []
    for i, (name, share) in enumerate(zip(names, shares, strict=True)):
        rest = (1 - share) / (len(targets) - 1)
        rows.append([i, name, images, share, *[rest] * (len(targets) - 1), abs(2 * share - 1), 0.5, False, 0.1])
    columns = ["class", "name", "images", *targets, "index", "p_value", "significant", "corrected_index"]
    return Report({"high": 0.5, "overdispersion": overdispersion}, {"bias": Table(columns, rows)})


def stage(name, *, fraction=1.0, epochs=None, steps=None, **changes):
    common = {"name": name, "start": "pretrained", "dataset": "ants", "batch_size": 16, "optimizer": {"lr": 1e-3}}
    length = {"fraction": fraction, "epochs": epochs, "steps": steps, "schedule": {"name": "step", "every": 7}}
    return {**common, **length, **changes}


def result(images, steps, epochs, top1=0.9, classes=("ants", "bees")):
    best = {"epoch": epochs - 2, "top1": top1, "loss": 0.2, "split": "val"}
    return {"best": best, "last": {**best, "epoch": epochs - 1}, "images": {"train": images, "val": 50}, "steps": steps,
            "seconds": 1.0, "classes": list(classes), "model": "stages/x/model", "warnings": []}  # fmt: skip


def write(folder, stages, results, reports, *, seed=0, model="resnet18", **more):
    """`reports`: {analysis name: (plugin, stage, report)}."""
    folder.mkdir(parents=True)
    recipe = {"name": "ants", "seed": seed, "model": {"name": model}, "datasets": {"ants": {"folder": "/data/ants"}},
              "stages": stages, "analyses": []}  # fmt: skip
    paths = {name: f"analyses/{name}/report.json" for name in reports}
    content = {"status": "done", "seed": seed, "stages": results, "analyses": paths, **more}
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    write_reports(folder, reports)
    return folder


def write_reports(folder, reports):
    for name, (plugin, of, report) in reports.items():
        parameters = {"stage": of, "dataset": "imagenet"}
        report.write(folder / "analyses" / name, name=name, plugin=plugin, version="0", parameters=parameters)


def run(folder, report=None, *, model="resnet18", seed=0, images=244, steps=400, epochs=25, **reports):
    """A run of one stage called target with the analyses given by plugin name."""
    given = {"retention": report} if report is not None else {}
    named = {plugin: (plugin, None, one) for plugin, one in (given | reports).items()}
    results = {"target": result(images, steps, epochs)}
    return write(folder, [stage("target", epochs=epochs)], results, named, seed=seed, model=model)


def audit(folder, target, reports, **facts):
    folder.mkdir(parents=True)
    paths = {name: f"analyses/{name}/report.json" for name in reports}
    (folder / "result.json").write_text(json.dumps({"status": "done", "stages": {}, "analyses": paths}))
    (folder / "audit.json").write_text(
        json.dumps({"name": "audited", "models": {"target": {"given": str(target), **facts}}})
    )
    write_reports(folder, reports)
    return folder

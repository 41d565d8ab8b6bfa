"""Runs of two epochs and three steps each on 8-pixel images, and the choice of cases that brings every two together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from transferkit.api import RunResult, execute
from transferkit.plugins.registry import Registry, installed
from transferkit.recipe import load_recipe

MODEL = {
    "name": "transferkit_cnn10",
    "options": {"width": 0.05},
    "preprocessing": {"input_size": 8, "crop_pct": 1.0},
}
STAGE = {"epochs": 2, "batch_size": 7, "workers": 0, "optimizer": {"name": "momentum", "lr": 0.02}, "keep": "last"}
IMAGES, STEPS = 18, 6  # of the target; batches of 7, 7 and 4, twice
Uses = Sequence[dict[str, Any]]


def missing(kind: str, table: Mapping[str, Any]) -> list[str]:
    """What must be changed so that the table has the installed plugins of this kind and no others."""
    known, where = installed().names(kind), f"{kind.upper()} of tests/plugins/test_pairs.py"
    new = [f'the {kind} "{name}" is tried with nothing: add options for it to {where}' for name in known]
    gone = [f'no {kind} "{name}" is installed: take it out of {where}' for name in table if name not in known]
    return [text for name, text in zip(known, new, strict=True) if not table.get(name)] + gone


def uses(kind: str, table: Mapping[str, Mapping[str, Any]]) -> dict[str, Uses]:
    """{label: what a recipe says}: nothing at all, and every variant of every installed plugin in the table."""
    found: dict[str, Uses] = {"none": []}
    for name in installed().names(kind):
        for variant, options in table.get(name, {}).items():
            found[f"{name} {variant}".strip()] = [{"use": name} | options]
    return found


Case = tuple[str, ...]


def met(case: Case) -> set[tuple[int, int, str, str]]:
    """The pairs of choices that a case brings together."""
    return {(a, b, case[a], case[b]) for a, b in combinations(range(len(case)), 2)}


def covering(cases: Iterable[Case]) -> list[Case]:
    """Few of the cases, in which every two choices meet that meet in any: always the one that brings most new pairs."""
    pairs = {case: met(case) for case in cases}
    left, found = set().union(*pairs.values()), []
    while left:
        best = max(pairs, key=lambda case: len(pairs[case] & left))
        left -= pairs[best]
        found.append(best)
    return found


@dataclass
class Witness:
    """Writes down the pixels of every batch; stops the run after a step, which a run that goes on has behind it."""

    stop_after: int = 0

    seen: ClassVar[dict[tuple[int, int], str]] = {}

    def setup(self, session):
        inner = session._session.loader.epoch

        def epoch(number, start=0):
            for position, batch in enumerate(inner(number, start), start):
                Witness.seen[number, position] = _digest(batch)
                yield batch

        session._session.loader.epoch = epoch

    def step_end(self, step):
        if step == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)


def _digest(batch: Any) -> str:
    digest = blake2b()
    for stream in sorted(batch.images):
        digest.update(stream.encode() + batch.images[stream].numpy().tobytes() + batch.labels[stream].numpy().tobytes())
    return digest.hexdigest()


def write_data(folder: Path) -> dict[str, dict[str, Any]]:
    """Noisy images of one colour per class: `source` has six classes, `three` three of them, `target` three others."""
    datasets = {}
    for seed, (name, classes, train, val) in enumerate((("source", 6, 30, 6), ("target", 3, IMAGES, 9))):
        rng = np.random.default_rng(seed)
        colours = rng.integers(0, 130, (classes, 1, 1, 3))
        arrays = {}
        for split, count in (("train", train), ("val", val)):
            labels = np.arange(count) % classes
            arrays[f"y_{split}"] = labels
            arrays[f"x_{split}"] = (rng.integers(0, 120, (count, 10, 10, 3)) + colours[labels]).astype(np.uint8)
        np.savez(folder / f"{name}.npz", **arrays, classes=np.array([f"{name[0]}{i}" for i in range(classes)]))
        datasets[name] = {"npz": str(folder / f"{name}.npz")}
    return datasets | {"three": {"from": "source", "classes": ["s0", "s2", "s5"]}}


def write_recipe(folder: Path, datasets: Mapping[str, Any], corruptions: Uses = (), **stage: Any) -> Path:
    """A recipe of one stage called `target`; the corruptions are planted in target and source alike."""
    planted = {name: spec | {"corruptions": list(corruptions)} for name, spec in datasets.items() if name != "three"}
    content = {
        "name": "pair",
        "device": "cpu",
        "threads": 1,
        "model": MODEL,
        "datasets": dict(datasets) | planted,
        "stages": [{"name": "target", "dataset": "target"} | STAGE | stage],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pair.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def train(folder: Path, registry: Registry, datasets: Mapping[str, Any], **recipe: Any) -> RunResult:
    """Run it in a folder of its own."""
    loaded = load_recipe(write_recipe(folder, datasets, **recipe), registry=registry)
    return execute(loaded, out=folder / "runs", quiet=True)

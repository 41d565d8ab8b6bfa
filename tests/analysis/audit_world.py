"""A small world to audit: analyzers that only count, tiny models, and noise for images."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from PIL import Image
from pydantic import Field

from transferkit.data.randomness import numpy_rng
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.report import Report, Table
from transferkit.testing import tiny_model

SOURCE = ["aqua", "beige", "coral", "denim"]
TARGET = ["ants", "bees"]
NOT_GIVEN = {"source": None, "source_data": None, "target_data": None}


@dataclass
class Counting:
    """How many images and classes there are, and which models."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    metrics: ClassVar[tuple[str, ...]] = ("images", "classes", "models", "unmeasured")
    standard_audit: ClassVar[int] = 20

    def analyze(self, session):
        found = session.predictions("target").logits(session.source_head())
        models = sum(session.has(role) for role in ("source", "target", "baseline"))
        numbers = {"images": self.scale * len(found), "classes": found.shape[1], "models": models}
        table = Table(["class", "images"], [[name, 0] for name in session.source_head().classes])
        return Report({**numbers, "unmeasured": math.nan}, {"all": table}, verdict=f"{len(found)} images.")


@dataclass
class First:
    """Comes before Counting, and says which of its options are set."""

    metrics: ClassVar[tuple[str, ...]] = ("scale",)
    standard_audit: ClassVar[int] = 10

    def analyze(self, session):
        return Report({"scale": session.peer("counting").scale if session.peer("counting") else 0})


@dataclass
class Optional:
    """Not part of the standard audit."""

    metrics: ClassVar[tuple[str, ...]] = ("one", "two")
    how: str = "fine"

    def analyze(self, session):
        if self.how == "needs more":
            raise InputError("this needs what nobody gave")
        if self.how == "broken":
            raise ZeroDivisionError("by design")
        if self.how.startswith("signal"):
            os.kill(os.getpid(), int(self.how.split()[1]))
        return Report({"one": 1.0, "two": 2.0})


ANALYZERS = {"counting": Counting, "first": First, "optional": Optional}


def images(folder, classes, count=3):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = numpy_rng("audit", name, i).integers(0, 256, (24, 24, 3)).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def make_world(home: Path) -> Path:
    """A source model, a model fine-tuned from it (another head), a baseline, images of both, all in folders."""
    source = tiny_model(SOURCE, seed=1)
    save_model(home / "source", source, None, {})
    save_model(home / "target", tiny_model(TARGET, seed=1), source.source_head(), {})
    save_model(home / "baseline", tiny_model(TARGET, seed=2), None, {})
    images(home / "source-images", SOURCE[:3])
    images(home / "target-images" / "train", TARGET)
    images(home / "target-images" / "val", TARGET, 2)
    return home

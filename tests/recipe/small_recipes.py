"""A small recipe, a small image folder and small plugins, shared by the tests of recipes."""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry

RECIPE = """\
name: demo
model: {name: resnet18}
datasets:
  pets: {folder: pets}
  noisy:
    from: pets
    corruptions: [{use: patch, ratio: 0.5}]
stages:
  - name: target
    dataset: pets
    epochs: 3
    batch_size: 4
    optimizer: {name: sgd, lr: 1e-3}
    regularizers:
      - {use: pull, weight: 0.01}
      - {use: spectral, weight: {from: 0, to: 0.1, over: 2}, k: 2}
  - {name: second, start: target, dataset: noisy, epochs: 2, observers: [{use: watch}]}
analyses:
  - {use: memory, dataset: pets}
"""


PLAIN = """\
name: plain
model: {name: resnet18}
datasets: {pets: {folder: pets}}
stages:
  - {name: target, dataset: pets, epochs: 3, batch_size: 4}
"""


@dataclass
class Spectral:
    """Acts on the spectrum of the features."""

    k: Annotated[int, Field(ge=1, description="how many")] = 1
    scale: Literal["absolute", "relative"] = "absolute"

    def check(self, stage):
        return [f"k is {self.k}, above the batch of {stage.batch_size}"] if self.k > stage.batch_size else []

    def penalty(self, features):
        return features.sum() * self.k


@dataclass
class Pull:
    """Pulls weights to zero."""

    conflicts: ClassVar[frozenset[str]] = frozenset({"weight_decay"})
    head: bool = True

    def anchors(self, model):
        return []


@dataclass
class Remember:
    """Compares with the model that the stage started from."""

    strength: float
    maps: Path | None = None

    def penalty(self, logits, reference_features):
        return logits.sum()


@dataclass
class Patch:
    ratio: float = 1.0

    def corrupt(self, image):
        return image


class Watch:
    def epoch_end(self, metrics):
        return {}


@dataclass
class Mix:
    source: str

    def mix(self, progress):
        return {"target": progress}


@dataclass
class Memory:
    top: int = 5

    def analyze(self, session):
        return None


def plugin_module(**offers: dict[str, object]) -> types.ModuleType:
    """A module as a plugin author would write it: {kind: {name: class}}."""
    module = types.ModuleType("third_party")

    def transferkit_register(register):
        for kind, classes in offers.items():
            for name, target in classes.items():
                getattr(register, kind)(name, target)

    module.transferkit_register = transferkit_register
    return module


def registry_of(**offers: dict[str, object]) -> Registry:
    registry = Registry()
    registry.load(plugin_module(**offers), Owner("third_party", "third-party", "1.2"))
    return registry


def draw(folder: Path, **classes: int) -> None:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / name / f"{index}.jpg").write_bytes(b"not really an image")

"""What the passes gave, layer by layer: similarity, ranks, and accuracies of probes with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit_representation.grams import cka_ratio
from transferkit_representation.measure import Looked
from transferkit_representation.similarity import reason
from transferkit_representation.spectra import by_entropy, participation, rank_above, stable

NAN = math.nan
MODELS = {"source": "before", "target": "after"}


@dataclass(frozen=True)
class Similarity:
    """CKA of each layer before (rows) with each layer after (columns)."""

    before: list[str]
    after: list[str]
    values: Tensor
    """(L1, L2) float64"""
    reasons: dict[str, str]
    """{layer, before or after: why it has none}"""

    @property
    def diagonal(self) -> dict[str, float]:
        """{layer: CKA with itself} of the layers that both models have."""
        return {
            name: float(self.values[i, self.after.index(name)])
            for i, name in enumerate(self.before)
            if name in self.after
        }


@dataclass(frozen=True)
class Rank:
    """The dimensions that one layer of one model uses."""

    layer: str
    model: str
    n: int
    d: int
    rank: int | None
    stable: float
    participation: float
    entropy: float

    @property
    def ceiling(self) -> int:
        """The most that n centred rows of d values can have."""
        return max(min(self.n - 1, self.d), 0)

    @property
    def at_ceiling(self) -> bool:
        """Whether the rank says no more than that."""
        return self.rank is not None and self.rank >= self.ceiling


@dataclass(frozen=True)
class Probed:
    """How well a layer's probes name images that they have not seen, before and after."""

    layer: str
    data: str
    images: int
    classes: int
    before: float
    after: float
    lambda_before: float
    lambda_after: float
    change: tuple[float, float, float]
    """After less before, and its 95 % interval over the same images."""
    chance: float
    """The share of the most frequent class."""


def similarity(looked: Looked, layers: Mapping[str, list[str]]) -> Similarity | None:
    """CKA of the data set that was looked at; None where nothing was compared."""
    if "cka.cross" not in looked.tensors:
        return None
    cross, before, after = (looked.tensors[f"cka.{part}"] for part in ("cross", "source", "target"))
    reasons = {
        f"{name} {MODELS[role]}": why
        for role, own in (("source", before), ("target", after))
        for name, value in zip(layers[role], own.tolist(), strict=True)
        if (why := reason(value)) is not None
    }
    return Similarity(layers["source"], layers["target"], cka_ratio(cross, before, after), reasons)


def ranks(looked: Looked, layers: Mapping[str, list[str]], tau: float) -> list[Rank]:
    """Every layer before, then every layer after."""
    found = []
    for role, names in layers.items():
        for index, name in enumerate(names):
            values = looked.tensors[f"spectrum.{role}.{index}"]
            n, d = looked.tensors[f"size.{role}.{index}"].tolist()
            known = not bool(values.isnan().any())
            numbers = (stable(values), participation(values), by_entropy(values)) if known else (NAN, NAN, NAN)
            found.append(Rank(name, MODELS[role], n, d, rank_above(values, tau) if known else None, *numbers))
    return found


def probes(looked: Looked, layers: Mapping[str, list[str]]) -> list[Probed]:
    """One entry per layer of either model."""
    labels = looked.labels
    counts = torch.bincount(labels, minlength=1)
    chance = float(counts.max()) / max(len(labels), 1)
    found = []
    for layer in dict.fromkeys(known for names in layers.values() for known in names):
        answers = {role: _answers(looked, role, names, layer) for role, names in layers.items()}
        before, lambda_before = answers.get("source", (None, NAN))
        after, lambda_after = answers["target"]
        found.append(
            Probed(
                layer=layer,
                data=looked.data,
                images=len(labels),
                classes=int((counts > 0).sum()),
                before=_share(before),
                after=_share(after),
                lambda_before=lambda_before,
                lambda_after=lambda_after,
                change=_change(before, after),
                chance=chance,
            )
        )
    return found


def _answers(looked: Looked, role: str, names: Sequence[str], layer: str) -> tuple[Tensor | None, float]:
    """(n,) float64 1 for right, and lambda; None where the model has no such layer or it could not be probed."""
    if layer not in names:
        return None, NAN
    index = names.index(layer)
    correct = looked.tensors[f"correct.{role}.{index}"]
    if len(correct) == 0 or bool((correct < 0).any()):
        return None, NAN
    return correct.double(), float(looked.tensors[f"lambda.{role}.{index}"])


def _share(correct: Tensor | None) -> float:
    return NAN if correct is None else float(correct.mean())


def _change(before: Tensor | None, after: Tensor | None) -> tuple[float, float, float]:
    if before is None or after is None:
        return NAN, NAN, NAN
    difference = after - before
    mean = float(difference.mean())
    error = 1.96 * float(difference.std(unbiased=True)) / len(difference) ** 0.5 if len(difference) > 1 else NAN
    return mean, mean - error, mean + error


def mean_of(values: Iterable[float]) -> float:
    """The mean of those that are numbers; NaN of none."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else NAN

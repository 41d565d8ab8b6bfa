"""What `representation` finds: similarity, ranks and probes of all layers, on one data set and on others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.statistics import Estimate, jackknife, ratio, share
from transferkit_representation.looks import Looked, layers_of, look, parts_of
from transferkit_representation.similarity import cka_ratio, reason
from transferkit_representation.spectra import by_entropy, participation, rank_above, stable

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_representation.options import Options

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
    diagonal: dict[str, Estimate]
    """{layer: CKA with itself} of the layers that both models have, with intervals over batches."""
    mean: Estimate
    """Over those layers of the diagonal that have one."""


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
    before: Estimate
    after: Estimate
    lambda_before: float
    lambda_after: float
    change: Estimate
    """After less before, on the same images, by classes."""
    chance: float
    """The share of the most frequent class."""


@dataclass(frozen=True)
class Findings:
    """Everything that was measured, and what could not be."""

    layers: dict[str, list[str]]
    """{role: its layers}"""
    main: Looked
    probed: list[Looked]
    corrupted: Looked | None
    similarity: Similarity | None
    ranks: list[Rank]
    participation: dict[str, Estimate]
    """{layer of both models: participation ratio, after over before}, and of "" the mean over layers."""
    probes: list[Probed]
    gaps: list[str]

    @property
    def compared(self) -> int:
        """Images that CKA is of."""
        return int(self.main.tensors["compared"])


def measure(session: AnalysisSession, options: Options) -> Findings:
    """One pass per data set, both models side by side."""
    gaps: list[str] = []
    layers = layers_of(session, options.layers, gaps)
    # under its own name, the data set's labels need no source class
    name = session.dataset("source") if session.has_data("source") else "target"
    main = look(session, options, name, layers, compare="source" in layers)
    names = list(dict.fromkeys(options.probe_data if options.probe_data is not None else [name]))
    seen = {name: main}
    for other in [*names, *([options.corrupted] if options.corrupted else [])]:
        if other not in seen:
            seen[other] = look(session, options, other, layers, compare=False)
    probed = [seen[other] for other in names]
    corrupted = seen[options.corrupted] if options.corrupted else None
    if corrupted is not None and corrupted not in probed:
        probed.append(corrupted)
    found = Findings(
        layers=layers,
        main=main,
        probed=probed,
        corrupted=corrupted,
        similarity=similarity(main, layers),
        ranks=ranks(main, layers, options.tau),
        participation=participation_ratios(main, layers),
        probes=[row for looked in probed for row in probes(looked, layers)],
        gaps=gaps,
    )
    gaps += _gaps(found)
    return found


def _gaps(found: Findings) -> list[str]:
    """What could not be measured, and why."""
    lines = []
    if "source" not in found.layers:
        lines.append(
            "There is no model from before (the stage started from scratch), so layers are not compared: ranks and "
            "probes are of the trained model alone. Name a stage as `source` to compare with it."
        )
    elif found.layers["source"] != found.layers["target"]:
        lines.append("The two models have different layers: only those of the same name are compared with each other.")
    if "source" in found.layers and found.similarity is None:
        lines.append(f"CKA needs at least 4 images; {found.main.data} has {found.main.available}.")
    if found.similarity is not None:
        lines += [f"No CKA for {layer}: {why}." for layer, why in found.similarity.reasons.items()]
    lines += [
        f"No rank and no probe for {row.layer} {row.model}: its outputs are not finite."
        for row in found.ranks
        if row.rank is None
    ]
    if bool(found.main.tensors["spectrum.target.0"].isfinite().all()):
        lines += [
            f"No probes on {looked.data}: they need two classes and more than one image (it has {len(looked.labels)})."
            for looked in found.probed
            if bool((looked.tensors["correct.target.0"] < 0).all())
        ]
    if found.corrupted is not None and not found.corrupted.planted:
        lines.append(
            f'"{found.corrupted.data}" has no planted corruption in its {found.corrupted.split} split: its probes '
            "learned plain images."
        )
    return lines


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
    values = cka_ratio(cross, before, after)
    both = {
        name: (i, layers["target"].index(name)) for i, name in enumerate(layers["source"]) if name in layers["target"]
    }
    diagonal = {name: _over_batches(looked, values, [place]) for name, place in both.items()}
    known = [place for place in both.values() if math.isfinite(float(values[place]))]
    return Similarity(
        layers["source"], layers["target"], values, reasons, diagonal, _over_batches(looked, values, known)
    )


def _over_batches(looked: Looked, values: Tensor, places: Sequence[tuple[int, int]]) -> Estimate:
    """The mean CKA of pairs of layers, with the interval of leaving out one batch; none for all images at once."""
    value = mean_of(float(values[place]) for place in places)
    if "batches.cross" not in looked.tensors or not places:
        return Estimate(value)
    cross, before, after = (looked.tensors[f"batches.{part}"].numpy() for part in ("cross", "source", "target"))
    sums = [part for i, j in places for part in (cross[:, i, j], before[:, i], after[:, j])]

    def mean(s: NDArray[np.float64]) -> Any:
        return np.mean([s[k] / np.sqrt(s[k + 1] * s[k + 2]) for k in range(0, len(s), 3)], axis=0)

    return replace(jackknife(mean, np.stack(sums)), value=value).within(-1, 1)


def participation_ratios(looked: Looked, layers: Mapping[str, list[str]]) -> dict[str, Estimate]:
    """{layer of both models: after over before}, of "" the mean; intervals by leaving out classes, or parts of them."""
    both = [name for name in layers.get("source", ()) if name in layers["target"]]
    if not both:
        return {}
    whole: list[float] = []
    without: list[NDArray[np.float64]] = []
    sizes = torch.bincount(parts_of(looked.labels)).numpy()
    for name in both:
        places = [(role, layers[role].index(name)) for role in ("source", "target")]
        before, after = (participation(looked.tensors[f"spectrum.{role}.{index}"]) for role, index in places)
        sides = [looked.tensors[f"without.{role}.{index}"].numpy() for role, index in places]
        measured = all(len(side) == len(sizes) for side in sides)
        whole.append(after / before)
        without.append(sides[1] / sides[0] if measured else np.full(len(sizes), NAN))
    known = [i for i, value in enumerate(whole) if math.isfinite(value)]
    found = {name: _left_out(whole[i], without[i], sizes) for i, name in enumerate(both)}
    mean = np.mean([without[i] for i in known], axis=0) if known else np.empty(0)
    return found | {"": _left_out(mean_of(whole), mean, sizes)}


def _left_out(value: float, without: NDArray[np.float64], sizes: NDArray[np.int64]) -> Estimate:
    """A ratio whose values without each part are known, with the jackknife's interval of its logarithm."""
    if len(without) != len(sizes) or not value > 0 or not (without > 0).all():
        return Estimate(value)
    logs = np.log(without)
    # the jackknife hands over the sums of all parts, which are not needed, and those without each
    found = jackknife(lambda s: math.log(value) if s.ndim == 1 else logs, np.eye(len(sizes)), sizes)
    return Estimate(value, math.exp(found.low), math.exp(found.high), found.n) if found.known else Estimate(value)


def ranks(looked: Looked, layers: Mapping[str, list[str]], tau: float) -> list[Rank]:
    """Every layer before, then every layer after."""
    found = []
    for role, names in layers.items():
        for index, name in enumerate(names):
            values = looked.tensors[f"spectrum.{role}.{index}"]
            n, d = looked.tensors[f"size.{role}.{index}"].tolist()
            rank = None if bool(values.isnan().any()) else rank_above(values, tau)
            numbers = stable(values), participation(values), by_entropy(values)
            found.append(Rank(name, MODELS[role], n, d, rank, *numbers))
    return found


def probes(looked: Looked, layers: Mapping[str, list[str]]) -> list[Probed]:
    """One entry per layer of either model."""
    counts = torch.bincount(looked.labels, minlength=1)
    found, classes = [], looked.labels.numpy()
    for layer in dict.fromkeys(known for names in layers.values() for known in names):
        answers = {role: _answers(looked, role, names, layer) for role, names in layers.items()}
        before, lambda_before = answers.get("source", (None, NAN))
        after, lambda_after = answers["target"]
        found.append(
            Probed(
                layer=layer,
                data=looked.data,
                images=len(looked.labels),
                classes=int((counts > 0).sum()),
                before=Estimate(NAN) if before is None else share(before.numpy(), classes),
                after=Estimate(NAN) if after is None else share(after.numpy(), classes),
                lambda_before=lambda_before,
                lambda_after=lambda_after,
                change=Estimate(NAN)
                if before is None or after is None
                else ratio((after - before).numpy(), np.ones(len(classes)), classes),
                chance=float(counts.max()) / max(len(looked.labels), 1),
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


def mean_of(values: Iterable[float]) -> float:
    """The mean of those that are numbers; NaN of none."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else NAN

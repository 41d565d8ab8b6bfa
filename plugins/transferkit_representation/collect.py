"""One pass of one or two models over the same images: similarity of all layers, and rows for ranks and probes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

from transferkit.data import Feed, Request
from transferkit.model import reading_workers
from transferkit_representation.probes import FoldedRidge
from transferkit_representation.similarity import FullCKA, MinibatchCKA

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.data import Samples
    from transferkit.model import Reading, TransferModel

POOLED = "pooled features"
WIDEST = 8192  # values of a row
View = Literal["gap", "flatten", "tokens"]


@dataclass(frozen=True)
class Plan:
    """What a pass looks at."""

    models: Mapping[str, tuple[TransferModel, list[str]]]
    """{role: (model, its layers)}"""
    samples: Mapping[str, Samples]
    """{role: the same images, each with its model's preprocessing}"""
    chosen: NDArray[np.int64]
    """(n,) which images, in the order of the pass."""
    folds: Tensor
    """(n,) of the probes."""
    batch_size: int
    view: View
    device: torch.device


@dataclass
class Layer:
    """What a pass keeps of one layer: a row per image, and in the view `tokens` sums over positions."""

    rows: list[Tensor] = field(default_factory=list)
    positions: int = 1
    sums: FoldedRidge | None = None
    squares: float = 0.0
    """Σ over all positions of ‖x‖², for the sums."""

    def add(self, plan: Plan, output: Tensor, reading: Reading, labels: Tensor, part: slice, classes: int) -> None:
        """A batch of outputs (b, …)."""
        tokens = reading.positions(output.detach().float())
        if plan.view == "flatten":
            layout = reading.layout(output.shape)
            self.rows.append(flattened(tokens, layout.grid if layout else None).cpu())
            return
        self.rows.append(tokens.mean(dim=1).cpu())
        if plan.view == "tokens" and tokens.shape[1] > 1:
            self._add_positions(tokens.cpu(), labels, plan.folds, part, classes)

    def _add_positions(self, tokens: Tensor, labels: Tensor, folds: Tensor, part: slice, classes: int) -> None:
        _, self.positions, channels = tokens.shape
        if self.sums is None:
            self.sums = FoldedRidge(channels, classes, int(folds.max()) + 1)
        of_each, fold = (values.repeat_interleave(self.positions) for values in (labels, folds[part]))
        self.sums.update(tokens.flatten(0, 1), of_each, fold, weight=1 / self.positions)
        self.squares += float(tokens.double().norm()) ** 2


@dataclass
class Collected:
    """The outcome of a pass."""

    labels: Tensor
    layers: dict[str, list[Layer]]
    compared: int
    """Images that CKA is of."""
    passes: int


def collect(
    session: AnalysisSession, plan: Plan, similar: MinibatchCKA | FullCKA | None, description: str
) -> Collected:
    """Models advance together, batch by batch. CKA of all images at once may need further passes.

    A last batch that is not full is left out of CKA over minibatches.
    """
    layers = {role: [Layer() for _ in names] for role, (_, names) in plan.models.items()}
    readings = {role: [model.reading(name) for name in names] for role, (model, names) in plan.models.items()}
    classes = len(next(iter(plan.samples.values())).classes)
    total = len(plan.chosen)
    found, compared, start, passes = [], 0, 0, 0
    while start < total:
        text = f"{description}, once more" if start else description
        for part, outputs, labels in _batches(session, plan, start, text):
            if not start:
                found.append(labels)
                for role in plan.models:
                    for layer, reading, output in zip(layers[role], readings[role], outputs[role], strict=True):
                        layer.add(plan, output, reading, labels, part, classes)
            count = part.stop - part.start
            if isinstance(similar, FullCKA):
                similar.update(part.start, outputs["source"], outputs["target"])
                compared = total
            elif similar is not None and count >= 4 and (count == plan.batch_size or count == total):
                similar.update(outputs["source"], outputs["target"])
                compared += count
        start = similar.next_block() if isinstance(similar, FullCKA) else total
        passes += 1
    return Collected(torch.cat(found), layers, compared, passes)


@torch.no_grad()
def _batches(
    session: AnalysisSession, plan: Plan, start: int, description: str
) -> Iterator[tuple[slice, dict[str, list[Tensor]], Tensor]]:
    """(which of the chosen, {role: outputs of its layers}, labels), from image `start` on.

    Roles with the same preprocessing share what was read.
    """
    readers: dict[str, str] = {}
    for role in plan.models:
        ours = plan.models[role][0].preprocessing
        readers[role] = next((readers[other] for other in readers if plan.models[other][0].preprocessing == ours), role)
    streams, total = sorted({*readers.values()}), len(plan.chosen)
    parts = [slice(begin, min(begin + plan.batch_size, total)) for begin in range(start, total, plan.batch_size)]
    requests = [
        Request(dict.fromkeys(streams, (plan.chosen[part], np.zeros_like(plan.chosen[part]))), part.stop - part.start)
        for part in parts
    ]
    feed = Feed({role: plan.samples[role] for role in streams}, reading_workers(total))
    with closing(feed), session.progress(total - start, description) as bar:
        for part, batch in zip(parts, feed.read(requests), strict=True):
            outputs = {}
            for role, (model, names) in plan.models.items():
                given = model(batch.images[readers[role]].to(plan.device))
                outputs[role] = [given.features if name == POOLED else given.taps[name] for name in names]
            yield part, outputs, next(iter(batch.labels.values()))
            bar.advance(part.stop - part.start)


def flattened(tokens: Tensor, grid: tuple[int, int] | None, widest: int = WIDEST) -> Tensor:
    """(b, positions, C) -> (b, at most `widest` where C allows), by averaging neighbouring positions."""
    count, positions, channels = tokens.shape
    cells = max(1, widest // channels)
    maps = tokens.transpose(1, 2)
    if positions <= cells:
        return maps.flatten(1)
    if grid is None:
        return adaptive_avg_pool1d(maps, cells).flatten(1)
    side = max(1, math.isqrt(cells))
    small = adaptive_avg_pool2d(maps.reshape(count, channels, *grid), (min(side, grid[0]), min(side, grid[1])))
    return small.flatten(1)

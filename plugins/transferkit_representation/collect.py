"""One pass of one or two models over the same images: similarity of all layers, and rows for ranks and probes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.data.feed import Feed, Request
from transferkit_representation.full import FullCKA
from transferkit_representation.probes import FoldedRidge
from transferkit_representation.similarity import MinibatchCKA
from transferkit_representation.views import View, averaged, channels_last, flattened, grid_of

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.data.samples import Samples
    from transferkit.model import TransferModel

POOLED = "pooled features"


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

    def add(self, plan: Plan, output: Tensor, channels: int | None, labels: Tensor, part: slice, classes: int) -> None:
        """A batch of outputs (b, …)."""
        tokens = channels_last(output.detach().float(), channels)
        if plan.view == "flatten":
            self.rows.append(flattened(tokens, grid_of(output, tokens.shape[1])).cpu())
            return
        self.rows.append(averaged(tokens).cpu())
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
    similar: MinibatchCKA | FullCKA | None
    compared: int
    """Images that CKA is of."""
    passes: int


def collect(
    session: AnalysisSession, plan: Plan, similar: MinibatchCKA | FullCKA | None, description: str
) -> Collected:
    """Models advance together, batch by batch. CKA of all images at once may need further passes."""
    layers = {role: [Layer() for _ in names] for role, (_, names) in plan.models.items()}
    classes = len(next(iter(plan.samples.values())).classes)
    found, compared, passes = [], 0, 1
    total = len(plan.chosen)
    for part, outputs, labels in _progressing(session, plan, 0, description):
        found.append(labels)
        for role, (model, names) in plan.models.items():
            for layer, name, output in zip(layers[role], names, outputs[role], strict=True):
                width = model.num_features if name == POOLED else model.tap_channels(name)
                layer.add(plan, output, width, labels, part, classes)
        compared += _compare(similar, part, outputs, plan.batch_size, total)
    if isinstance(similar, FullCKA):
        similar.next_block()
        while similar.start < total:
            for part, outputs, _ in _progressing(session, plan, similar.start, f"{description}, once more"):
                similar.update(part.start, outputs["source"], outputs["target"])
            similar.next_block()
            passes += 1
    return Collected(torch.cat(found), layers, similar, compared, passes)


def _compare(
    similar: MinibatchCKA | FullCKA | None,
    part: slice,
    outputs: Mapping[str, Sequence[Tensor]],
    batch_size: int,
    total: int,
) -> int:
    """Feed a batch to CKA; how many images it took. A last batch that is not full is left out of minibatches."""
    count: int = part.stop - part.start
    if isinstance(similar, FullCKA):
        similar.update(part.start, outputs["source"], outputs["target"])
        return count
    if similar is None or (count < batch_size and total > count) or count < 4:
        return 0
    similar.update(outputs["source"], outputs["target"])
    return count


Outputs = dict[str, list[Tensor]]


@torch.no_grad()
def _progressing(
    session: AnalysisSession, plan: Plan, start: int, description: str
) -> Iterator[tuple[slice, Outputs, Tensor]]:
    with session.progress(len(plan.chosen) - start, description) as bar:
        for part, images, labels in _batches(plan, start):
            outputs = {
                role: _outputs(model, names, images[role].to(plan.device))
                for role, (model, names) in plan.models.items()
            }
            yield part, outputs, labels
            bar.advance(part.stop - part.start)


def _outputs(model: TransferModel, names: Sequence[str], images: Tensor) -> list[Tensor]:
    output = model(images)
    return [output.features if name == POOLED else output.taps[name] for name in names]


def _batches(plan: Plan, start: int) -> Iterator[tuple[slice, dict[str, Tensor], Tensor]]:
    """(which of the chosen, {role: images}, labels). Roles with the same preprocessing share what was read."""
    readers: dict[str, str] = {}
    for role in plan.models:
        ours = plan.models[role][0].preprocessing
        readers[role] = next((readers[other] for other in readers if plan.models[other][0].preprocessing == ours), role)
    feed = Feed({role: plan.samples[role] for role in {*readers.values()}}, _workers(len(plan.chosen)))
    parts = [
        slice(begin, min(begin + plan.batch_size, len(plan.chosen)))
        for begin in range(start, len(plan.chosen), plan.batch_size)
    ]
    requests = [_request(plan.chosen[part], {*readers.values()}) for part in parts]
    try:
        for part, batch in zip(parts, feed.read(requests), strict=True):
            labels = next(iter(batch.labels.values()))
            yield part, {role: batch.images[reader] for role, reader in readers.items()}, labels
    finally:
        feed.close()


def _request(indices: NDArray[np.int64], streams: set[str]) -> Request:
    epochs = np.zeros_like(indices)
    return Request(dict.fromkeys(sorted(streams), (indices, epochs)), len(indices))


def _workers(images: int) -> int:
    """Reading in processes of their own pays where there are cores to spare and work for them."""
    cores = os.cpu_count() or 1
    return 0 if cores <= 4 or images < 1000 else min(8, cores - 2)

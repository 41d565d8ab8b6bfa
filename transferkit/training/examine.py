"""One step from the inside: what each part of its loss does to the gradient, and where a number stops being one.

It makes the step's passes anew from the same keys, one for all values and one more for the gradient of each part.
Weights, running statistics and the gradients at hand are the same afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from transferkit.model.weights import not_finite
from transferkit.training.loaders import place

if TYPE_CHECKING:
    from transferkit.data.batches import Batch
    from transferkit.data.streams import Combined
    from transferkit.training.anchors import WeightedAnchor
    from transferkit.training.objective import Losses, TermKey
    from transferkit.training.session import TrainingSession

TASK = "the task loss"


@dataclass(frozen=True)
class Part:
    """What one part of the loss, or an anchor, adds to the step: its value and its own gradient."""

    name: str
    raw: float
    weighted: float
    norms: dict[str, float]  # {layer: norm of its gradient}
    broken: list[str]  # parameters in which the gradient is not finite


@dataclass(frozen=True)
class Examination:
    """What was found in a step. With several processes, in the part of the step that is this process's."""

    parts: list[Part]
    given: list[Combined]  # what the model saw, by micro-batch
    images: list[str]  # ids of images whose values are not finite
    module: str | None  # the first module whose output is not finite


def examine(session: TrainingSession, batches: Sequence[Batch]) -> Examination:
    """Look at the step that the session stands before, made of these micro-batches."""
    session.buffers.give_back()
    terms: dict[TermKey, None] = {}
    seen: list[Combined] = []
    with _watched(session.model) as broken:
        for given, losses in _losses(session, batches):
            seen.append(given)
            terms |= dict.fromkeys(losses.graphs)
    parts = [_part_of_loss(session, batches, key) for key in (None, *terms)]
    parts += [_part_of_anchor(session, item) for item in session.anchors]
    session.buffers.give_back()
    return Examination(parts, seen, _broken_images(session, batches, seen), next(iter(broken), None))


def broken_anchors(session: TrainingSession) -> list[str]:
    """The anchors whose pull is not finite, as `Part` names them."""
    return [part.name for part in (_part_of_anchor(session, item) for item in session.anchors) if part.broken]


def named_parameters(session: TrainingSession) -> dict[str, nn.Parameter]:
    """{timm's name: parameter} of all that may train; see `TransferModel.named_weights` for the others' names."""
    return {name: p for name, p in session.model.named_weights().items() if p.requires_grad}


def gradients(session: TrainingSession) -> dict[str, Tensor]:
    """{parameter: gradient} as they are now."""
    return {name: p.grad for name, p in named_parameters(session).items() if p.grad is not None}


def norms_by_layer(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """{layer: norm}, in float64; layers are the model's topmost modules, and the members of its lists."""
    squares: dict[str, Tensor] = {}
    for name, gradient in gradients.items():
        squares[layer_of(name)] = squares.get(layer_of(name), torch.zeros(())) + gradient.double().square().sum().cpu()
    return {layer: float(square.sqrt()) for layer, square in squares.items()}


def layer_of(parameter: str) -> str:
    """`layer1.0.conv1.weight` -> `layer1.0`, `fc.weight` -> `fc`."""
    first, *others = parameter.split(".")
    return f"{first}.{others[0]}" if others and others[0].isdigit() else first


def term_name(key: TermKey) -> str:
    """A penalty's term as sentences call it."""
    instance, term = key
    return f"the penalty {instance}" + (f" ({term})" if term else "")


def _losses(session: TrainingSession, batches: Sequence[Batch]) -> Iterator[tuple[Combined, Losses]]:
    """The forward passes of the step, as the loop makes them."""
    session.begin_step()
    for batch in batches:
        given = place(session, batch)
        with session.accelerator.autocast():
            outputs = session.model(given.images)
        yield given, session.loss(given, outputs, batch, batches)


def _part_of_loss(session: TrainingSession, batches: Sequence[Batch], key: TermKey | None) -> Part:
    raw = weighted = 0.0
    with _gradients_from_zero(session):
        for _, losses in _losses(session, batches):
            graph = losses.task_graph if key is None else losses.graphs.get(key)
            if graph is not None:
                weighted += float(graph.detach())
                raw += float(losses.task if key is None else losses.raw[key])
                if graph.requires_grad:
                    with session.recomputing:
                        graph.backward()  # type: ignore[no-untyped-call]
        return _part(session, TASK if key is None else term_name(key), raw, weighted)


def _part_of_anchor(session: TrainingSession, item: WeightedAnchor) -> Part:
    name = f"the anchor {item.instance}" + (f" ({item.anchor.term})" if item.anchor.term else "")
    with _gradients_from_zero(session):
        item.pull(session.epochs_done)
        raw = float(item.anchor.value())
        return _part(session, name, raw, raw * item.weight(session.epochs_done))


def _part(session: TrainingSession, name: str, raw: float, weighted: float) -> Part:
    found = gradients(session)
    return Part(name, raw, weighted, norms_by_layer(found), not_finite(found))


@contextmanager
def _gradients_from_zero(session: TrainingSession) -> Iterator[None]:
    trained = list(named_parameters(session).values())
    before = [parameter.grad for parameter in trained]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    try:
        yield
    finally:
        for parameter, gradient in zip(trained, before, strict=True):
            parameter.grad = gradient


def _broken_images(session: TrainingSession, batches: Sequence[Batch], seen: Sequence[Combined]) -> list[str]:
    """Ids of the images that are not finite as they were read; without any, streams that are not as they were mixed."""
    known = {stream: samples.ids for stream, samples in session.loader.streams.items()}
    found = [
        known[stream][int(index)]
        for batch in batches
        for stream, images in batch.images.items()
        for index, image in zip(batch.indices[stream], images, strict=True)
        if not image.isfinite().all()
    ]
    mixed = {name: images for given in seen for name, images in given.images.items()}
    return found or [f"the images of {name} as they were mixed" for name in not_finite(mixed)]


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """The first module whose output is not finite: inner ones end before those they are part of."""
    found: list[str] = []

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and any(not tensor.isfinite().all() for tensor in _tensors(output)):
            found.append(f"{name.removeprefix('net.')} ({type(module).__name__})")

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name not in ("", "net"):
                hooks.enter_context(module.register_forward_hook(partial(look, name)))
        yield found


def _tensors(output: Any) -> Iterable[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        output = list(output.values())
    return [t for item in output for t in _tensors(item)] if isinstance(output, list | tuple) else []

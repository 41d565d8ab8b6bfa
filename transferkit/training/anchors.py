"""Anchors: pulls on parameters with a known gradient, applied once per optimizer step.

The gradient of weight · ½ Σ aᵢ (wᵢ − tᵢ)² is weight · aᵢ (wᵢ − tᵢ). Adding it directly costs a few passes
over the parameters; sending the same term through autograd costs 1.3 to 1.45 times a training step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.errors import InputError


def counterpart(name: str, parameter: nn.Parameter, values: Mapping[str, Tensor], plugin: str, purpose: str) -> Tensor:
    """The value of that name, as a copy laid out like the parameter: training either model later must not move it.

    `purpose` says what a parameter without one could not be: "pulled towards". Raises KeyError naming it, or both
    shapes where they differ.
    """
    if name not in values:
        raise KeyError(f"{plugin}: the model this stage started from has no parameter {name!r} to be {purpose}")
    value = values[name]
    if value.shape != parameter.shape:
        raise KeyError(
            f"{plugin}: parameter {name!r} has shape {tuple(parameter.shape)}, but {tuple(value.shape)} "
            "in the model this stage started from"
        )
    return torch.empty_like(parameter, requires_grad=False).copy_(value.detach())


@dataclass
class Anchor:
    """A pull of `parameters` towards `targets` (None: zero), weighted per element by `importance` (None: one)."""

    parameters: Sequence[nn.Parameter]
    targets: Sequence[Tensor] | None = None
    importance: Sequence[Tensor] | None = None
    term: str = ""

    def __post_init__(self) -> None:
        self.parameters = list(self.parameters)
        for name in ("targets", "importance"):
            given = getattr(self, name)
            if given is None:
                continue
            given = list(given)
            if [tuple(p.shape) for p in self.parameters] != [tuple(t.shape) for t in given]:
                raise InputError(f"an anchor needs one tensor of the same shape per parameter in `{name}`")
            setattr(self, name, [tensor.detach() for tensor in given])

    @torch.no_grad()
    def value(self) -> Tensor:
        """½ Σ importance · (w − target)², summed in float64."""
        total = torch.zeros((), dtype=torch.float64, device=self.parameters[0].device if self.parameters else None)
        for index, parameter in enumerate(self.parameters):
            square = (parameter if self.targets is None else parameter - self.targets[index]).square()
            if self.importance is not None:
                square = square * self.importance[index]
            total = total + square.sum(dtype=torch.float64)
        return total / 2

    @torch.no_grad()
    def pull(self, weight: float) -> None:
        """Add weight · importance · (w − target) to the gradients of the parameters that have one."""
        nothing = [None] * len(self.parameters)
        every = zip(self.parameters, self.targets or nothing, self.importance or nothing, strict=True)
        rows: list[Row] = [(parameter.grad, parameter, *of) for parameter, *of in every if parameter.grad is not None]
        if not rows or weight == 0:
            return
        if self.parameters[0].device.type == "cpu":
            for row in rows:
                for piece in zip(*_pieces(row), strict=True):
                    _add([piece], weight)
        else:
            _add(rows, weight)


Row = tuple[Tensor | None, ...]  # of one parameter: gradient, weights, target, importance
PIECE = 2**18  # elements


def _pieces(row: Row) -> Iterator[list[Tensor | None]]:
    """Each tensor of a row cut along its first axis.

    On a CPU the difference of one piece stays in the cache; one list of all differences is as large as the
    model, needs fresh pages at every step, and costs half as much time again.
    """
    weights = row[1]
    assert weights is not None
    if weights.numel() <= PIECE:
        return ([tensor] for tensor in row)
    rows = max(1, PIECE * len(weights) // weights.numel())
    count = -(-len(weights) // rows)
    return ([None] * count if tensor is None else list(torch.split(tensor, rows)) for tensor in row)


def _add(rows: Sequence[Row], weight: float) -> None:
    """gradient += weight · importance · (weights − target), for several parameters at once."""
    gradients, difference, targets, importance = (
        [t for t in column if t is not None] for column in zip(*rows, strict=True)
    )
    if targets:
        difference = list(torch._foreach_sub(difference, targets))
    if importance:
        difference = list(torch._foreach_mul(difference, importance))
    torch._foreach_add_(gradients, difference, alpha=weight)


@dataclass
class WeightedAnchor:
    """An anchor of a run: the plugin instance it belongs to and the weight that the recipe gives it."""

    instance: str
    anchor: Anchor
    weight: Callable[[float], float]

    def pull(self, epoch: float) -> None:
        """Apply it with the weight of this point of the training (in epochs)."""
        self.anchor.pull(self.weight(epoch))

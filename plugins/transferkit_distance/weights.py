"""The path of some parameters, step by step: its length, and how far its end is from its start.

A step costs one pass over the weights and one over their copy, and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.errors import InputError

BLOCK = 65_536  # weights taken together on a CPU: a block and its copy stay in its cache through all three passes


class WeightPath:
    """Adds up ‖w_{k+1} − w_k‖₂ over the given parameters.

    Differences and their norms are computed in float32 (float64 parameters in float64) by blocks, squares and lengths
    are added in float64. The copies take twice the memory of the parameters.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.start = {name: _copy(parameter) for name, parameter in self.parameters.items()}
        self._previous = {name: copy.clone() for name, copy in self.start.items()}
        device = next((p.device for p in self.parameters.values()), torch.device("cpu"))
        self._wide = torch.float32 if device.type == "mps" else torch.float64
        self._length = torch.zeros((), dtype=self._wide, device=device)
        self.steps = 0
        self.watch()

    def watch(self) -> None:
        """Look at the parameters that train now. Frozen ones cost nothing and need no look: they do not move."""
        names = [name for name, parameter in self.parameters.items() if parameter.requires_grad]
        self._now: list[Tensor] = [self.parameters[name] for name in names]
        self._before = [self._previous[name] for name in names]
        self._blockwise = bool(names) and self._now[0].device.type == "cpu"

    @torch.no_grad()
    def step(self) -> None:
        """After an optimizer step: add its length."""
        self.steps += 1
        if not self._now:
            return
        norms = self._by_block() if self._blockwise else self._by_tensor()
        self._length += torch.stack(norms).to(self._wide).square().sum().sqrt()

    def _by_tensor(self) -> list[Tensor]:
        """A handful of kernels for all tensors together. The copies become differences, then copies again."""
        torch._foreach_sub_(self._before, self._now)
        norms = list(torch._foreach_norm(self._before))
        torch._foreach_copy_(self._before, self._now)
        return norms

    def _by_block(self) -> list[Tensor]:
        norms = []
        for before, now in zip(self._before, self._now, strict=True):
            for old, new in _blocks(before, now):
                old.sub_(new)
                norms.append(torch.linalg.vector_norm(old))
                old.copy_(new)
        return norms

    @property
    def length(self) -> float:
        """The length of the path so far. Waits for the device."""
        return float(self._length)

    @torch.no_grad()
    def displacement(self) -> float:
        """How far the weights are from their start. Waits for the device."""
        squares = [
            (parameter.to(self._wide) - self.start[name].to(self._wide)).square().sum()
            for name, parameter in self.parameters.items()
        ]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    def state(self) -> dict[str, Any]:
        """The start and the length; the last weights are the model's own."""
        return {"start": self.start, "length": self._length, "steps": self.steps}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, with the parameters as they are now. InputError when it is of other parameters."""
        start = state["start"]
        for name, parameter in self.parameters.items():
            if name not in start or start[name].shape != parameter.shape:
                raise InputError(
                    f'distance: the saved state has no parameter "{name}" of this shape; start the run anew'
                )
        self.start = {name: _copy(p).copy_(start[name]) for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            self._previous[name].copy_(parameter.detach())
        self._length.copy_(state["length"])
        self.steps = int(state["steps"])


def _copy(parameter: Tensor) -> Tensor:
    """A copy laid out like the parameter; half types in float32."""
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    return torch.empty_like(parameter, dtype=dtype, requires_grad=False).copy_(parameter.detach())


def _blocks(before: Tensor, now: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Two tensors of one layout in blocks; any layout without holes (channels last too) is one row of numbers."""
    size = before.numel()
    if size <= BLOCK or before.stride() != now.stride() or not torch.ops.aten.is_non_overlapping_and_dense(now):
        return iter(((before, now),))
    rows = (tensor.as_strided((size,), (1,)) for tensor in (before, now.detach()))
    return zip(*(torch.split(row, BLOCK) for row in rows), strict=True)

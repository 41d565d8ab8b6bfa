"""A detector's module: from features, logits and tapped layers of n images to scores, in the model's own graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.data.randomness import numpy_rng
from transferkit.errors import InputError
from transferkit.model.wrapper import SourceHead
from transferkit.words.kinds import type_of

PROBES = 3
GIVEN = ("features", "logits", "taps")
Answer = Tensor | tuple[Tensor, Tensor]


class Verdict(NamedTuple):
    """What a detector says of n images: score (n,), source_class (n,) int64 with −1 for none, per_class (n, m).

    `per_class` are the scores of the m watched classes where the detector gives them, otherwise (n, 0).
    """

    score: Tensor
    source_class: Tensor
    per_class: Tensor


class Scorer(nn.Module):
    """A detector's module made of a function and the tensors that were fitted: its buffers, and so its state.

    The function is given those of `features` (n, d), `logits` (n, K) and `taps` ({layer: (n, C)}) that its arguments
    name, and `tensors` for the rest. What it returns goes through `verdict`. `title` is the detector's name in tables,
    `watches` has the source classes that the columns of per-class scores are of, by name or index.
    """

    def __init__(
        self,
        function: Callable[..., Answer],
        title: str = "",
        tensors: Mapping[str, Tensor] | None = None,
        watches: Sequence[str | int] = (),
    ) -> None:
        super().__init__()
        self.function, self.title, self.watches = function, title, tuple(watches)
        self.asked = tuple(name for name in inspect.signature(function).parameters if name in GIVEN)
        for name, tensor in (tensors or {}).items():
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, features: Tensor, logits: Tensor, taps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Score (n,), and source class (n,) int64 or scores of the watched classes (n, m)."""
        given = {"features": features, "logits": logits, "taps": taps}
        found = self.function(**{name: given[name] for name in self.asked}, **dict(self.named_buffers()))
        return found if isinstance(found, tuple) else (found, unnamed(found))


def unnamed(score: Tensor) -> Tensor:
    """(n,) int64 of −1: what a detector that watches no class says beside its scores (n,)."""
    return torch.full_like(score, -1, dtype=torch.int64)


class DetectorModule(nn.Module):
    """A plugin's module as the core uses it: checked, always a `Verdict`, and in single precision whatever the model.

    `watched` are the watched classes as indices among all source classes.
    """

    indices: Tensor

    def __init__(self, inner: nn.Module, watched: Sequence[int] = ()) -> None:
        super().__init__()
        self.inner = inner.eval().requires_grad_(False)
        self.register_buffer("indices", torch.tensor(list(watched), dtype=torch.int64))

    def forward(self, features: Tensor, logits: Tensor, taps: Mapping[str, Tensor]) -> Verdict:
        """(n, d), (n, K) and {layer: (n, C)} -> Verdict."""
        return verdict(self.inner(features, logits, taps), self.indices)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DetectorModule:
        """Follow the model to its device; the numbers keep their precision, which half a float would not be enough."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(fn(tensor).device)

        return super()._apply(moved, recurse)  # type: ignore[no-untyped-call, no-any-return]


def verdict(answer: Any, indices: Tensor) -> Verdict:
    """What a module returned, in one form. Raises InputError for anything else.

    Scores (n,) alone name no class. Beside them int64 (n,) are source classes, −1 for none; floats (n, m) are scores of
    the m watched classes, of which the largest is named.
    """
    pair = answer if isinstance(answer, tuple) else (answer, None)
    if len(pair) != 2 or not isinstance(pair[0], Tensor) or pair[0].dim() != 1 or not pair[0].is_floating_point():
        raise InputError(f"a detector gives scores (images,), or these and their classes, not {_shown(answer)}")
    score, second = pair
    nothing = score.new_empty((score.shape[0], 0))
    if second is None:
        return Verdict(score, unnamed(score), nothing)
    if not isinstance(second, Tensor):
        raise InputError(f"what a detector gives beside its scores is a tensor, not {_shown(second)}")
    if second.dim() == 1 and second.dtype == torch.int64:
        return Verdict(score, second, nothing)
    if second.dim() == 2 and second.is_floating_point() and second.shape[1] == len(indices):
        if not len(indices):
            return Verdict(score, unnamed(score), nothing)
        return Verdict(score, indices.index_select(0, second.argmax(dim=1)), second)
    raise InputError(
        "beside its scores a detector gives source classes (images,) int64, or a score of each watched class "
        f"(images, {len(indices)}), not {_shown(second)}"
    )


@torch.no_grad()
def probe_scores(inner: nn.Module, head: SourceHead, layers: Mapping[str, int]) -> list[float]:
    """Scores of three made-up images by a module in single precision: the same wherever the same is computed.

    Features and layers (of these widths) are drawn by key, logits are those of the model's own `head`.
    """
    features = _drawn(head.weight.shape[1], "features").to(head.weight)
    taps = {name: _drawn(width, "layer", name) for name, width in layers.items()}
    score, _, _ = verdict(inner(features.float(), head.logits(features).float(), taps), _indices(inner))
    return score.double().tolist()


def _indices(inner: nn.Module) -> Tensor:
    return torch.arange(len(getattr(inner, "watches", ())))


def _drawn(width: int, *what: str) -> Tensor:
    rows = [numpy_rng("detector probe", *what, place).standard_normal(width) for place in range(PROBES)]
    return torch.from_numpy(np.stack(rows)).float()


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return type_of(value)

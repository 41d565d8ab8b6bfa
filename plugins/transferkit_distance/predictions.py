"""The path of a model's predictions on fixed inputs: its Fisher length (paper 004, table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from transferkit.model import TransferModel, evaluating

BATCH_SIZE = 64


def fisher_length(log_probabilities: Tensor) -> tuple[float, float]:
    """(steps, n, K) log-probabilities of n inputs along a path -> two lengths, in float64.

    The first takes the mean over inputs inside the root, Σ_k sqrt(2 mean_x KL(p_k ‖ p_{k+1})): the length in the
    Riemannian metric of Fisher information. The second takes it outside, Σ_k mean_x sqrt(2 KL): Definition 2 of Gao
    and Chaudhari. The second is never the larger. Fewer than two steps have length 0; no inputs give NaN.
    """
    path = log_probabilities.double()
    if not path.shape[1]:
        return float("nan"), float("nan")
    parts = [_step(before, after) for before, after in pairwise(path)]
    return float(sum(inside for inside, _ in parts)), float(sum(outside for _, outside in parts))


def _step(before: Tensor, after: Tensor) -> tuple[float, float]:
    """(n, K) log-probabilities before and after -> the lengths of the step with the mean inside and outside the root.

    KL is never negative; rounding is clamped away.
    """
    before, after = before.double(), after.double()
    terms = before.exp() * (before - after)
    divergence = terms.nan_to_num(nan=0.0, posinf=torch.inf).sum(dim=1).clamp(min=0.0)  # 0 · log 0 is 0
    return float((2 * divergence.mean()).sqrt()), float((2 * divergence).sqrt().mean())


@dataclass
class PredictionPath:
    """Fisher lengths of a path that is looked at now and then."""

    images: Tensor
    """(n, C, H, W), where the model is."""
    inside: float = 0.0
    outside: float = 0.0
    step: int = -1
    """The optimizer step that was last looked at."""
    _before: Tensor | None = field(default=None, repr=False)

    def look(self, model: TransferModel, step: int) -> None:
        """Add the way from the last look to the predictions now. A second look at the same step changes nothing."""
        if step == self.step:
            return
        now = log_probabilities(model, self.images)
        if self._before is not None:
            inside, outside = _step(self._before, now)
            self.inside += inside
            self.outside += outside
        self._before, self.step = now, step

    def state(self) -> dict[str, Any]:
        """All but the images."""
        return {"inside": self.inside, "outside": self.outside, "step": self.step, "before": self._before}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.inside, self.outside, self.step = state["inside"], state["outside"], state["step"]
        self._before = state["before"]


@torch.no_grad()
def log_probabilities(model: TransferModel, images: Tensor) -> Tensor:
    """(n, K) float64 on the CPU, from the model in evaluation mode."""
    with evaluating(model):
        logits = [model(part).logits.float() for part in torch.split(images, BATCH_SIZE)]
    return torch.cat(logits).cpu().double().log_softmax(dim=1)

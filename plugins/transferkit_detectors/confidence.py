"""Detectors that look at the logits alone: how sure the model is of its answer. Nothing is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession


def msp(logits: Tensor) -> Tensor:
    """1 − the largest probability (Hendrycks and Gimpel, 2017). (n, K) -> (n,)."""
    return 1 - logits.softmax(dim=1).amax(dim=1)


def max_logit(logits: Tensor) -> Tensor:
    """Minus the largest logit (Hendrycks et al., 2022). (n, K) -> (n,)."""
    return -logits.amax(dim=1)


def energy(logits: Tensor) -> Tensor:
    """−log Σ exp(logit), temperature 1 (Liu et al., 2020). (n, K) -> (n,)."""
    return -logits.logsumexp(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """−Σ p log p, in nats. (n, K) -> (n,)."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def gen(logits: Tensor, gamma: float = 0.1, top: int = 100) -> Tensor:
    """Σ p^γ (1 − p)^γ over the `top` largest probabilities (Liu et al., GEN, 2023). (n, K) -> (n,)."""
    import torch

    p = logits.softmax(dim=1).sort(dim=1, descending=True).values
    others = p[:, 1:].sum(dim=1, keepdim=True)  # 1 − the largest would round where the model is sure
    rest = torch.cat([others, 1 - p[:, 1:]], dim=1)
    return (p[:, :top].pow(gamma) * rest[:, :top].pow(gamma)).sum(dim=1)


@dataclass
class OfLogits:
    """A function of the logits as a detector: there is nothing to fit."""

    title: ClassVar[str]
    function: ClassVar[Any]

    def fit(self, session: DetectorSession) -> nn.Module:
        """Its module, whatever the session."""
        return self.restore({})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """Its module, which has no tensors."""
        from transferkit.model import Scorer

        return Scorer(type(self).function, self.title)


@dataclass
class MSP(OfLogits):
    """One minus the largest probability."""

    standard_audit: ClassVar[float] = 10
    title = "MSP"
    function = staticmethod(msp)


@dataclass
class MaxLogit(OfLogits):
    """Minus the largest logit."""

    standard_audit: ClassVar[float] = 20
    title = "max logit"
    function = staticmethod(max_logit)


@dataclass
class Energy(OfLogits):
    """Minus the log-sum-exp of the logits."""

    standard_audit: ClassVar[float] = 30
    title = "energy"
    function = staticmethod(energy)


@dataclass
class Entropy(OfLogits):
    """The entropy of the probabilities."""

    standard_audit: ClassVar[float] = 40
    title = "entropy"
    function = staticmethod(entropy)


@dataclass
class GEN(OfLogits):
    """The generalised entropy of the largest probabilities."""

    gamma: Annotated[float, Field(gt=0, lt=1, description="γ: the smaller, the more small probabilities count")] = 0.1
    top: Annotated[int, Field(ge=1, description="how many of the largest probabilities count")] = 100
    title = "GEN"

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """Its module, which has no tensors."""
        from transferkit.model import Scorer

        return Scorer(partial(gen, gamma=self.gamma, top=self.top), self.title)

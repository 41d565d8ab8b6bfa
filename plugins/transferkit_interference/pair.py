"""Two scores with one promise: an input is flagged where a memory is awake, or where the model is unsure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from transferkit.analysis import DetectorUse

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit.analysis import DetectorSession, NamedDetector
    from transferkit.model import TransferModel

USUAL, RARE = 0.5, 0.9
"""Quantiles of clean images that become 0 and 1."""
LEAST = 1e-3
"""A spread below this share of the usual score, or of 1, would make rounding in single precision large."""


@dataclass
class Pair:
    """The larger of a memory's score and an error's, each measured by what clean images have."""

    memory: Annotated[
        DetectorUse | None, Field(description="one that names source classes; default: source_memory")
    ] = None
    error: Annotated[DetectorUse | None, Field(description="one that notices errors; default: msp")] = None
    needs_clean: ClassVar[bool] = True

    def taps(self, model: TransferModel) -> list[str]:
        """The layers of both."""
        return list(dict.fromkeys(name for one in self._parts() for name in one.layers(model)))

    def fit(self, session: DetectorSession) -> nn.Module:
        """Both detectors, and their scores' usual and rare values on clean images. InputError without such images."""
        import torch

        from transferkit.errors import InputError

        if session.clean is None or len(session.clean) < 2:
            raise InputError("pair needs clean target images to compare its two scores by, and there are none")
        fitted = [one.fit(session) for one in self._parts()]
        if not fitted[0].watched:
            raise InputError(f"pair: {fitted[0].name} names no source class, so it is no detector of memories")
        scores = torch.stack([torch.from_numpy(one(session.clean)[0]) for one in fitted], dim=1)
        middle, rare = (scores.quantile(at, dim=0) for at in (USUAL, RARE))
        spread = (rare - middle).maximum(LEAST * middle.abs().clamp_min(1))
        tensors = {
            f"parts.{place}.{name}": tensor
            for place, one in enumerate(fitted)
            for name, tensor in one.module.state_dict().items()
        }
        watched = torch.tensor(fitted[0].watched)
        return self.restore({**tensors, "middle": middle, "spread": spread, "watched": watched})

    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module of these tensors."""
        from transferkit_interference.pair_module import Both

        inner = []
        for place, part in enumerate(self._parts()):
            start = f"parts.{place}."
            own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            inner.append(part.plugin.instance.restore(own))
        named = " and ".join(
            getattr(one, "title", "") or part.name for one, part in zip(inner, self._parts(), strict=True)
        )
        return Both(inner, tensors["middle"], tensors["spread"], tensors["watched"], named)

    def _parts(self) -> list[NamedDetector]:
        from transferkit.analysis import NamedDetector

        given: list[Any] = [self.memory or "source_memory", self.error or "msp"]
        return [NamedDetector.of(one) for one in given]

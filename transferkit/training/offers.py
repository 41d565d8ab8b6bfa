"""What the hooks of the loop may ask for: one small object per hook, its attributes are the offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from transferkit.training.objective import Offers

if TYPE_CHECKING:
    from transferkit.data.streams import Combined
    from transferkit.model import Output, TransferModel
    from transferkit.training.session import Session
    from transferkit.training.workspace import Workspace


@dataclass
class SessionOffer:
    """For `setup` and `streams`."""

    session: Workspace


@dataclass
class ModelOffer:
    """What `taps` and `anchors` may ask for."""

    model: TransferModel
    reference: TransferModel | None

    @property
    def head(self) -> nn.Module:
        """The target's head."""
        return self.model.head


@dataclass
class _Drawing:
    """A generator, made for those who ask for one: this is offered in every step."""

    make_rng: Callable[[], np.random.Generator]

    @property
    def rng(self) -> np.random.Generator:
        """Keyed by the step."""
        return self.make_rng()


@dataclass
class BatchOffer(_Drawing):
    """For `transform_batch`."""

    images: Tensor
    labels: Tensor


@dataclass
class CombineOffer(_Drawing):
    """For `combine`."""

    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    step: int
    epoch: int
    progress: float


@dataclass
class FeaturesOffer:
    """For `transform_features`."""

    features: Tensor


@dataclass
class MixOffer:
    """For `mix`."""

    step: int
    epoch: int
    progress: float


@dataclass
class StepOffer:
    """For `step_end`."""

    session: Session
    step: int
    losses: Mapping[str, Tensor]


@dataclass
class EpochOffer:
    """For `epoch_end`."""

    session: Session
    epoch: int
    metrics: Mapping[str, Any]


@dataclass
class TeardownOffer:
    """For `teardown`."""

    session: Workspace
    error: BaseException | None


def offers_by_stream(session: Session, given: Combined, outputs: Mapping[str, Output]) -> Callable[[str], Offers]:
    """What penalties may ask for in a micro-batch, by stream; made when first asked for, then shared."""

    @cache
    def offers(stream: str) -> Offers:
        return Offers(
            images=given.images[stream],
            labels=given.labels[stream],
            output=outputs[stream],
            model=session.model,
            head=session.model.head_of(stream),
            reference=session.reference,
            step=session.state.step,
            epoch=session.state.epoch,
            progress=session.progress_made,
            autocast=session.accelerator.autocast,
        )

    return offers

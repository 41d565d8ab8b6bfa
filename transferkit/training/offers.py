"""What the hooks of the loop may ask for, by the names of `hookspecs`; what costs something is made when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.data.batches import Batch
    from transferkit.data.streams import Combined
    from transferkit.model.wrapper import Output
    from transferkit.training.workspace import Session


class BatchOffers(SimpleNamespace):
    """For `transform_batch` and `combine`, in every step: with `make_rng`, which makes a generator keyed by it."""

    @property
    def rng(self) -> np.random.Generator:
        """Made for those who ask for one."""
        generator: np.random.Generator = self.make_rng()
        return generator


class PenaltyOffers(SimpleNamespace):
    """For `penalty` and `loss`, in one micro-batch of one `stream`.

    With `session`, the loader's `batch`, the `images`, and `autocast` for a pass of the reference model.
    """

    @cached_property
    def _of_reference(self) -> Output:
        if self.reference is None:
            raise InputError("this stage starts from scratch: there is no reference model to compare with")
        with torch.no_grad(), self.autocast():
            output: Output = self.reference(self.images)
        taps = {name: tap.float() for name, tap in output.taps.items()}
        return output._replace(features=output.features.float(), logits=output.logits.float(), taps=taps)

    @property
    def reference_features(self) -> Tensor:
        """The features of the same images in the reference model, (n, d), without gradient."""
        return self._of_reference.features

    @property
    def reference_taps(self) -> Mapping[str, Tensor]:
        """The tapped outputs of the reference model for the same images, without gradient."""
        return self._of_reference.taps

    @property
    def source_logits(self) -> Tensor:
        """What the source's classifier says on those features, (n, K_s), without gradient."""
        return self._of_reference.logits  # the reference has the source's head

    @cached_property
    def _indices(self) -> Tensor:
        """(n,) which of the stream's samples the images are."""
        indices: Tensor | None = self.batch.indices.get(self.stream)
        if indices is None or len(indices) != len(self.labels):
            raise InputError(
                f'the curriculum has put other images into the stream "{self.stream}" than were read, so their ids '
                "and groups are not known"
            )
        return indices

    @cached_property
    def ids(self) -> list[str]:
        """The stable id of every image."""
        samples = self.session.loader.streams[self.stream]
        return [samples.source.ids[index] for index in samples.chosen[self._indices.numpy()]]

    @cached_property
    def groups(self) -> Tensor:
        """(n,) int64: the group of every image."""
        groups: Tensor = self.session.groups[self.stream][self._indices.to(self.session.device)]
        return groups


def penalty_offers(
    session: Session, batch: Batch, given: Combined, outputs: Mapping[str, Output]
) -> Callable[[str], PenaltyOffers]:
    """What penalties and the loss may ask for in a micro-batch, by stream; made when first asked for, then shared."""

    @cache
    def offers(stream: str) -> PenaltyOffers:
        return PenaltyOffers(
            session=session,
            batch=batch,
            stream=stream,
            images=given.images[stream],
            labels=given.labels[stream],
            **outputs[stream]._asdict(),
            model=session.model,
            head=session.model.head_of(stream),
            reference=session.reference,
            step=session.state.step,
            epoch=session.state.epoch,
            progress=session.progress_made,
            autocast=session.accelerator.autocast,
        )

    return offers

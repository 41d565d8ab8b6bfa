"""The observer `distance`: how far each optimizer step moves the backbone, added up (paper 004, tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import Session


@dataclass
class Distance:
    """Record the length of the way that the backbone's weights take, step by step, and how straight it is."""

    fisher_every: Annotated[
        int, Field(ge=0, description="also look at the predictions every so many optimizer steps; 0 does not")
    ] = 0
    fisher_images: Annotated[
        int, Field(ge=1, description="how many images are looked at: validation images, else training images")
    ] = 128

    _weights: Any = field(init=False, default=None, repr=False)
    _predictions: Any = field(init=False, default=None, repr=False)
    _saved: dict[str, Any] = field(init=False, default_factory=dict, repr=False)
    _epoch: int = field(init=False, default=0, repr=False)

    def setup(self, session: Session) -> None:
        """Keep where the backbone starts: the parameters that train now, or all where more are unfrozen later."""
        from transferkit_distance.predictions import PredictionPath
        from transferkit_distance.weights import WeightPath

        later = session.stage.unfreeze is not None
        named = session.model.named_backbone_parameters()
        self._weights = WeightPath({name: p for name, p in named if p.requires_grad or later})
        self._epoch = session.state.epoch
        if not self._weights.parameters:
            session.warn("distance: no parameter of the backbone trains, so its distance stays 0")
        if self.fisher_every:
            self._predictions = PredictionPath(self._images(session))
            self._predictions.look(session.model, session.state.step)
        if self._saved:
            self.load_state_dict(self._saved)

    def _images(self, session: Session) -> Tensor:
        """The same images for every process and after a resume, through the evaluation transform."""
        import copy

        import numpy as np

        from transferkit.errors import InputError

        if len(session.classes) < 2:
            raise InputError(
                "distance: a Fisher length is of class probabilities, and this model has no classes; "
                "use fisher_every: 0"
            )
        given = session.validation_samples if session.validation_samples is not None else session.train_samples
        plain = copy.copy(given)
        plain.pipeline = given.evaluation
        chosen = np.sort(session.rng("distance", "images").permutation(len(plain))[: self.fisher_images])
        return plain.batch(chosen, np.zeros_like(chosen))[0].to(session.device)

    def step_end(self, session: Session, step: int) -> None:
        """Add the length of the step. Nothing is read from the device."""
        if self._weights is None:
            return
        if session.state.epoch != self._epoch:  # a new epoch may have unfrozen parameters
            self._epoch = session.state.epoch
            self._weights.watch()
        self._weights.step()
        if self._predictions is not None and step % self.fisher_every == 0:
            self._predictions.look(session.model, step)

    def epoch_end(self, session: Session) -> dict[str, float]:
        """The lengths so far, for metrics.jsonl and TensorBoard. Straightness is NaN while nothing moved."""
        if self._weights is None:
            return {}
        distance, displacement = self._weights.length, self._weights.displacement()
        found = {
            "distance": distance,
            "displacement": displacement,
            "straightness": displacement / distance if distance else float("nan"),
        }
        if self._predictions is not None:
            self._predictions.look(session.model, session.state.step)  # so that the numbers are of this epoch's end
            found |= {
                "fisher_length": self._predictions.inside,
                "fisher_length_definition_2": self._predictions.outside,
            }
        return found

    def state_dict(self) -> dict[str, Any]:
        """Where the weights started, and the lengths so far."""
        if self._weights is None:
            return dict(self._saved)
        predictions = {} if self._predictions is None else self._predictions.state()
        return {"weights": self._weights.state(), "predictions": predictions}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the weights must be in the model already. InputError when they are of another model."""
        if self._weights is None:
            self._saved = dict(state)
            return
        self._weights.load(state["weights"])
        if self._predictions is not None and state["predictions"]:
            self._predictions.load(state["predictions"])

    def teardown(self) -> None:
        """Let the copies go."""
        self._weights = self._predictions = None

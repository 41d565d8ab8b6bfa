"""Unlearning source-only features while fine-tuning: the proposal of paper 000, appendix B, made a penalty."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import Session, Stage
    from transferkit.model import TransferModel


@dataclass
class UnlearnSource:
    """Suppress what the features say about source classes that the target never shows."""

    form: Annotated[
        Literal["probability", "features"],
        Field(description="what the source head sees of source-only classes, or the single features of Eq. 6 and 7"),
    ] = "probability"
    k: Annotated[int, Field(ge=1, description="a target image shows the k best source classes of the source model")] = 5
    v_lo: Annotated[
        float,
        Field(ge=0, description="source-only: shown by at most so many target images (below 1: a share of them)"),
    ] = 0.001
    dataset: Annotated[str | None, Field(description="features: the source's training data")] = None
    images: Annotated[int, Field(ge=1, description="features: images of each source-only class")] = 20
    threshold: Annotated[
        float | None, Field(description="features: a_t; default: the source model's mean activation on target images")
    ] = None

    _classes: list[int] = field(init=False, default_factory=list, repr=False)
    _features: list[int] = field(init=False, default_factory=list, repr=False)
    _ids: Any = field(init=False, default=None, repr=False)

    def check(self, stage: Stage) -> list[str]:
        """Source-only features cannot be told without images of the source."""
        if self.form == "features" and self.dataset is None:
            return ["`form: features` compares with source images: name their data set in `dataset`"]
        return []

    def setup(self, session: Session) -> None:
        """Find the source-only classes, and for `form: features` their features."""
        from transferkit_unlearn_source.find import found

        self._classes, self._features = found(session, self)
        self._ids = None

    def penalty(self, features: Tensor, reference: TransferModel) -> Tensor:
        """Zero, still in the graph, where there is nothing to unlearn."""
        from transferkit_unlearn_source.features import source_probability

        chosen = self._classes if self.form == "probability" else self._features
        if not chosen or not len(features):
            return (features * 0.0).sum()
        if self._ids is None or self._ids.device != features.device:
            import torch

            self._ids = torch.tensor(chosen, device=features.device)
        if self.form == "features":
            return features[:, self._ids].abs().mean()
        return source_probability(reference.head(features), self._ids).mean()

    def epoch_end(self) -> dict[str, float]:
        """How much is being unlearnt, for the records."""
        counts = {"source_only_classes": float(len(self._classes))}
        return counts | ({"source_only_features": float(len(self._features))} if self.form == "features" else {})

    def state_dict(self) -> dict[str, list[int]]:
        """What was found when the stage began."""
        return {"classes": list(self._classes), "features": list(self._features)}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        """Go on with the same choice."""
        self._classes, self._features, self._ids = list(state["classes"]), list(state["features"]), None

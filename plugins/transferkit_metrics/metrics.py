"""The scores as metrics of an evaluation, each with what more of it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferkit.report import Metric

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class BalancedAccuracy:
    """The mean recall of the classes: what top-1 would be if all were of one size."""

    metrics: ClassVar = [Metric("balanced_accuracy", "balanced accuracy", "share", "better")]

    def score(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """One number."""
        from transferkit_metrics.scores import balanced_accuracy

        return {"balanced_accuracy": balanced_accuracy(logits.numpy(), labels.numpy())}


@dataclass
class F1Macro:
    """The mean F1 of the classes."""

    metrics: ClassVar = [Metric("f1_macro", "macro F1", "share", "better")]

    def score(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """One number."""
        from transferkit_metrics.scores import f1_macro

        return {"f1_macro": f1_macro(logits.numpy(), labels.numpy())}


@dataclass
class AUROC:
    """The mean area under the ROC curves of each class against the rest."""

    metrics: ClassVar = [Metric("auroc", "AUROC", "share", "better")]

    def score(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """One number."""
        from transferkit_metrics.scores import auroc

        return {"auroc": auroc(logits.numpy(), labels.numpy())}


@dataclass
class ECE:
    """How far the confidence of answers is from their accuracy."""

    bins: Annotated[int, Field(ge=1, description="bins of equal width between 0 and 1")] = 15

    metrics: ClassVar = [Metric("ece", "expected calibration error", "share", "worse")]

    def score(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """One number."""
        from transferkit_metrics.scores import ece

        return {"ece": ece(logits.numpy(), labels.numpy(), self.bins)}


@dataclass
class WorstGroup:
    """The accuracy of the group that the model does worst on."""

    metrics: ClassVar = [Metric("worst_group", "worst-group accuracy", "share", "better")]

    def score(self, logits: Tensor, labels: Tensor, groups: Tensor) -> dict[str, float]:
        """One number."""
        from transferkit_metrics.scores import worst_group

        return {"worst_group": worst_group(logits.numpy(), labels.numpy(), groups.numpy())}

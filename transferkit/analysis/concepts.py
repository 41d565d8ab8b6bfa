"""Source classes that a plugin is told by name, and the images that show them: some to fit by, others to ask about."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from transferkit.errors import InputError
from transferkit.words.formats import listing
from transferkit.words.names import DatasetName

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.training.edit_session import EditSession


@dataclass
class Found:
    """Features (n, d) of source images, the number of each one's class, and which of them are `seen` by the fit."""

    features: Tensor
    labels: Tensor
    seen: Tensor

    def concepts(self, wanted: list[int]) -> Tensor:
        """(n, k) 0 and 1: a column for each class."""
        return (self.labels[:, None] == self.labels.new_tensor(wanted)).double()


@dataclass
class Concept:
    """Source classes by name, and the images that show them."""

    classes: Annotated[list[str], Field(min_length=1, description="names of source classes, as the data set has them")]
    dataset: Annotated[DatasetName, Field(description="images of the source's classes, these and others")]
    ridge: Annotated[
        Annotated[float, Field(ge=0)] | None,
        Field(description="added to the covariance, in units of its mean eigenvalue; default: features per image"),
    ] = None

    def wanted(self, session: EditSession) -> list[int]:
        """The numbers of the classes. Raises InputError for names that the data set lacks, and where none is left."""
        from transferkit.analysis.asked_classes import classes_called

        names = session.samples(self.dataset, "train").classes
        found = classes_called(self.classes, names)
        if len(found) == len(names):
            raise InputError(f"classes: {listing(self.classes)} are all classes of {self.dataset}: nothing is left")
        return found

    def images(self, session: EditSession, values: Mapping[str, Tensor] | None = None) -> Found:
        """The train split is seen, val or test are not; without them a third of each class is held back."""
        import torch

        features, labels = session.features(self.dataset, "train", values)
        for split in ("val", "test"):
            with suppress(InputError):
                others, more = session.features(self.dataset, split, values)
                seen = torch.arange(len(labels) + len(more)) < len(labels)
                return Found(torch.cat([features, others]), torch.cat([labels, more]), seen)
        seen = torch.ones(len(labels), dtype=torch.bool)
        for label in torch.unique(labels).tolist():
            own = torch.nonzero(labels == label).flatten()
            order = session.rng("held back", label).permutation(len(own))
            seen[own[torch.from_numpy(order[: len(own) // 3])]] = False
        return Found(features, labels, seen)

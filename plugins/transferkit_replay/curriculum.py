"""Replay: go on seeing a few of the old images while new ones are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from transferkit.data import DatasetName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from transferkit import Stage, Stream, Workspace


def chosen(labels: Any, classes: Sequence[str], images: int, seed: int) -> NDArray[np.int64]:
    """Up to so many images of every class by their labels (n,): sorted indices, a function of seed, names and counts.

    More images are those of fewer and further ones; a class's do not depend on the other classes.
    """
    import numpy as np

    from transferkit.data import numpy_rng

    labels = np.asarray(labels)
    members = [np.flatnonzero(labels == label) for label in range(len(classes))]
    drawn = [numpy_rng(seed, "replay", name).permutation(m)[:images] for name, m in zip(classes, members, strict=True)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


@dataclass
class Replay:
    """Give every batch a share of a few old images."""

    dataset: Annotated[DatasetName, Field(description="the old images; the train split is used")]
    images: Annotated[int, Field(ge=1, description="old images that are kept of each class")] = 20
    share: Annotated[float, Field(gt=0, lt=1, description="of a batch that is old")] = 0.25

    def check(self, stage: Stage) -> list[str]:
        """Old images are not the stage's own."""
        if self.dataset != stage.dataset:
            return []
        return [f'the old images "{self.dataset}" are the stage\'s own data set; dataset names another one']

    def streams(self, session: Workspace) -> Mapping[str, Stream]:
        """The kept images, under the target's head where it has their classes.

        Where it has none of them, under a head of their own, which starts as the source's. Raises InputError where it
        has some.
        """
        import transferkit
        from transferkit.errors import InputError
        from transferkit.model import rows_of

        old = session.open_samples(self.dataset, "train")
        known = set(old.classes) & set(session.classes)
        if known and len(known) < len(old.classes):
            missing = next(name for name in old.classes if name not in known)
            raise InputError(
                f'replay: "{self.dataset}" has the class "{missing}", which "{session.stage.dataset}" does not list; '
                f"give that data set known: {self.dataset}"
            )
        kept = chosen(old.labels, old.classes, self.images, session.seed)
        if known:
            old = session.open_samples(self.dataset, "train", list(session.classes))
            return {"replay": transferkit.Stream(old.subset(kept), head="target")}
        head = session.source_head
        named = head is not None and set(old.classes) <= set(head.classes)
        initial = rows_of(head, old.classes) if head is not None and named else None
        return {"replay": transferkit.Stream(old.subset(kept), initial=initial)}

    def mix(self) -> Mapping[str, float]:
        """The same share in every batch."""
        return {"replay": self.share}

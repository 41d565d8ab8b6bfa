"""One pass of a model over images: its features, from which the logits of any head follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from transferkit.data.samples import Samples
from transferkit.model.wrapper import SourceHead

CHUNK = 4096


@dataclass(frozen=True)
class Predictions:
    """What one pass over n images gave, in the order of the samples.

    Everything is a function of `features` (n, d) and a head, so one pass serves every head.
    """

    features: Tensor
    """(n, d) float32."""
    labels: Tensor
    """(n,) int64, indices into `classes`: of the images as they are, whatever a corruption says; see planted_labels."""
    ids: list[str]
    classes: list[str]
    """The classes of the data set."""
    head: SourceHead
    """The model's own head."""
    samples: Samples | None = field(default=None, repr=False)
    """The images."""

    @property
    def planted_labels(self) -> Tensor:
        """(n,) the labels that training and evaluation are given with these images, after all corruptions."""
        return self.labels if self.samples is None else torch.from_numpy(self.samples.planted_labels)

    def __len__(self) -> int:
        return len(self.labels)

    def logits(self, head: SourceHead | None = None) -> Tensor:
        """(n, K) float32, of the model's own head or another one on the same features."""
        return torch.cat([part for _, part in self.chunks(head)])

    def chunks(self, head: SourceHead | None = None, size: int = CHUNK) -> Iterator[tuple[slice, Tensor]]:
        """The logits in pieces (slice, (≤ size, K)): those of 50 000 images need never be in memory at once."""
        head = head if head is not None else self.head
        for start in range(0, max(len(self), 1), size):
            part = slice(start, start + size)
            yield part, head.logits(self.features[part])

    def predicted(self, head: SourceHead | None = None) -> Tensor:
        """(n,) int64: the class with the largest logit, the lower one of two that are equal."""
        return torch.cat([logits.argmax(dim=1) for _, logits in self.chunks(head)])

    def top(self, k: int, head: SourceHead | None = None) -> Tensor:
        """(n, min(k, K)) int64: the k classes with the largest logits, best first; of equal ones the lower first."""
        return torch.cat([top_classes(logits, k) for _, logits in self.chunks(head)])

    def label_probability(self, head: SourceHead | None = None) -> Tensor:
        """(n,) float64: the softmax over all classes of the head, at each image's label."""
        shares = ((part, logits.double().log_softmax(dim=1).exp()) for part, logits in self.chunks(head))
        return torch.cat([one.gather(1, self.labels[part, None]).squeeze(1) for part, one in shares])


def top_classes(scores: Tensor, k: int) -> Tensor:
    """(n, K) -> (n, min(k, K)) int64: a stable order, which `torch.topk` does not promise for ties."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]

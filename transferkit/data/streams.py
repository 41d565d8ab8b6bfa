"""A stream: samples that share a head and a loss. Plain fine-tuning has one, a curriculum mixes several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.data.samples import Samples
    from transferkit.model.wrapper import SourceHead

Partner = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""From target images, as indices and augmentation keys (n,), to one image of the stream for each of them (n,)."""


@dataclass
class Stream:
    """Samples, the head that classifies them, and their loss.

    The head is one of its own, the target's, or `joint`: its own logits and the target's make one softmax, for both
    streams, while training. Without a loss of its own a stream has the stage's. `partner(indices, keys)`, both (n,),
    makes it a paired stream: each target image of a batch, with its augmentation key, brings one image of this stream,
    in the same order. `initial` fills the stream's own head; it must have the stream's classes.
    """

    samples: Samples
    head: Literal["own", "target", "joint"] = "own"
    loss: Callable[..., Any] | None = None
    partner: Partner | None = None
    initial: SourceHead | None = None

    @property
    def classes(self) -> list[str]:
        """The class names of its samples."""
        return self.samples.classes

    def __len__(self) -> int:
        return len(self.samples)


@dataclass
class Combined:
    """What `combine` makes of a batch: images and labels by stream, and weights of the streams' task losses.

    Streams whose images are the same tensor object share one pass through the backbone.
    """

    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    weights: Mapping[str, float] = field(default_factory=dict)

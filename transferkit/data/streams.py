"""A stream: samples that share a head and a loss. Plain fine-tuning has one, a curriculum mixes several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.data.samples import Samples


@dataclass
class Stream:
    """Samples, the head that classifies them (a name in the model's heads), and their loss.

    Without a loss of its own a stream has the stage's.
    """

    samples: Samples
    head: str = "target"
    loss: Callable[..., Any] | None = None

    @property
    def classes(self) -> list[str]:
        """The class names of its samples."""
        return self.samples.classes

    def __len__(self) -> int:
        return len(self.samples)

"""A stream: samples that share a head and a loss. Plain fine-tuning has one, a curriculum mixes several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transferkit.data.samples import Samples


@dataclass
class Stream:
    """Samples, the head that classifies them (one of its own, or the target's), and their loss.

    Without a loss of its own a stream has the stage's.
    """

    samples: Samples
    head: Literal["own", "target"] = "own"
    loss: Callable[..., Any] | None = None

    @property
    def classes(self) -> list[str]:
        """The class names of its samples."""
        return self.samples.classes

    def __len__(self) -> int:
        return len(self.samples)

"""What a model knows of the layers that an adapter plugin put in place of its own: plain data, which copies keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Adapted:
    """One adapter's part in a model: which plugin with which options, and what it changed.

    `layers` are timm's names of the layers in whose place its own are. `own` are the parameters, by timm's names,
    that those have and the plain ones had not. `freezes`: whether whatever is not its own stays as it is; `merges`:
    whether its layers can become plain ones.
    """

    plugin: str
    distribution: str
    version: str
    layers: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    freezes: bool = False
    merges: bool = True

    def __str__(self) -> str:
        return f'the adapter "{self.plugin}" of {self.distribution} {self.version}'

    def to_json(self) -> dict[str, Any]:
        """What a model folder has to know to put the layers in again."""
        said = asdict(self)
        return {name: said[name] for name in ("plugin", "distribution", "version", "options")} | {
            "layers": list(self.layers)
        }

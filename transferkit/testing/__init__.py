"""What plugin authors import: a tiny model, with a detector too, tiny images, a tiny session, and `check_plugin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit import lazy

if TYPE_CHECKING:
    from transferkit.testing.check import check_plugin
    from transferkit.testing.detector import tiny_guarded
    from transferkit.testing.tiny import TinySession, tiny_analysis, tiny_images, tiny_model, tiny_session

__all__ = ["TinySession", "check_plugin", "tiny_analysis", "tiny_guarded", "tiny_images", "tiny_model", "tiny_session"]

__getattr__ = lazy(
    __name__,
    {
        "TinySession": "transferkit.testing.tiny",
        "check_plugin": "transferkit.testing.check",
        "tiny_analysis": "transferkit.testing.tiny",
        "tiny_guarded": "transferkit.testing.detector",
        "tiny_images": "transferkit.testing.tiny",
        "tiny_model": "transferkit.testing.tiny",
        "tiny_session": "transferkit.testing.tiny",
    },
)

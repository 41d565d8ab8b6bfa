"""Fine-tune timm backbones, see what they still remember, deploy them with an interference detector.

This is the whole public surface. Names are imported on first use, so that `import transferkit` stays
fast and never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit import testing
    from transferkit.analysis.audit import AuditResult, audit
    from transferkit.api import RunResult, run
    from transferkit.data.streams import Combined, Stream
    from transferkit.hookspecs import hookimpl
    from transferkit.loaded import LoadedModel, load
    from transferkit.report import Report
    from transferkit.training.anchors import Anchor

__version__ = "0.1.0"
API_VERSION = "1"

_HOMES = {
    "Anchor": "transferkit.training.anchors",
    "AuditResult": "transferkit.analysis.audit",
    "Combined": "transferkit.data.streams",
    "LoadedModel": "transferkit.loaded",
    "Report": "transferkit.report",
    "RunResult": "transferkit.api",
    "Stream": "transferkit.data.streams",
    "audit": "transferkit.analysis.audit",
    "hookimpl": "transferkit.hookspecs",
    "load": "transferkit.loaded",
    "run": "transferkit.api",
    "testing": "transferkit.testing",
}

__all__ = [
    "API_VERSION",
    "Anchor",
    "AuditResult",
    "Combined",
    "LoadedModel",
    "Report",
    "RunResult",
    "Stream",
    "__version__",
    "audit",
    "hookimpl",
    "lazy",
    "load",
    "run",
    "testing",
]


def lazy(package: str, homes: dict[str, str]) -> Callable[[str], Any]:
    """A module `__getattr__` that imports names on first use.

    Plugin packages export their pure functions with it, so that registering them does not import torch:
    `__getattr__ = transferkit.lazy(__name__, {"bss": "transferkit_bss.penalty"})`.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    return __getattr__


__getattr__ = lazy(__name__, _HOMES)

"""Fine-tune timm backbones, see what they still remember, deploy them with an interference detector.

What this module and report, statistics, errors, analysis, data, model and testing list in `__all__` is the
whole public surface: plugins import nothing else. Names are imported on first use, so that `import transferkit` stays
fast and never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.surface import API_VERSION as API_VERSION
from transferkit.surface import __version__ as __version__
from transferkit.surface import lazy as lazy
from transferkit.surface import lazy_imports as lazy_imports

if TYPE_CHECKING:
    from transferkit import testing as testing
    from transferkit.api import audit as audit
    from transferkit.api import compare as compare
    from transferkit.api import resume as resume
    from transferkit.api import run as run
    from transferkit.data.streams import Combined as Combined
    from transferkit.data.streams import Partner as Partner
    from transferkit.data.streams import Stream as Stream
    from transferkit.deploy.answers import Answer as Answer
    from transferkit.deploy.answers import Answers as Answers
    from transferkit.deploy.loaded import LoadedModel as LoadedModel
    from transferkit.deploy.loaded import load as load
    from transferkit.hookspecs import hookimpl as hookimpl
    from transferkit.plugins.registry import Register as Register
    from transferkit.recipe.schema import Stage as Stage
    from transferkit.report import Report as Report
    from transferkit.reporting.html import write_findings as write_findings
    from transferkit.runs.comparison import Comparison as Comparison
    from transferkit.runs.results import AuditResult as AuditResult
    from transferkit.runs.results import RunResult as RunResult
    from transferkit.training.anchors import Anchor as Anchor
    from transferkit.training.anchors import counterpart as counterpart
    from transferkit.training.edit_session import EditSession as EditSession
    from transferkit.training.workspace import Session as Session
    from transferkit.training.workspace import Workspace as Workspace
else:
    __getattr__, __all__ = lazy_imports(__name__)
    __dir__ = __all__.copy

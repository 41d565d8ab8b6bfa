"""The models that are probed: those of the analysis, and further stages of the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.model import TransferModel
    from transferkit_spurious.analyzer import Spurious

ROLES = {"target": "target", "baseline": "baseline", "source": "source"}


@dataclass(frozen=True)
class Subject:
    """A model under a name for people; `role` is target, baseline, source, or stage for a further one."""

    name: str
    role: str
    model: TransferModel = field(repr=False)


def subjects(session: AnalysisSession, options: Spurious, *, source: bool) -> list[Subject]:
    """Target, further stages, baseline, and the source where wanted. Raises InputError for models that do not fit."""
    target = session.model("target")
    found = [Subject("target", "target", target)]
    for name in dict.fromkeys(options.stages):
        found.append(Subject(name, "stage", session.stage_model(name).to(session.device)))
    if session.has("baseline"):
        found.append(Subject("baseline", "baseline", session.model("baseline")))
    if source and session.has("source"):
        found.append(Subject("source", "source", session.model("source")))
    for one in found:
        if one.role != "source" and one.model.classes != target.classes:
            raise InputError(
                f"spurious: {one.name} does not have the outputs of the target model, so they do not compare"
            )
        if one.model.preprocessing.input_size != target.preprocessing.input_size:
            raise InputError(f"spurious: {one.name} takes other inputs than the target model")
    return found

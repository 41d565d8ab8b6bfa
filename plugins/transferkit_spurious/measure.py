"""What `spurious` finds about the models of an analysis, on tables or on images."""

from __future__ import annotations

from transferkit.analysis import AnalysisSession
from transferkit.data import TableSamples
from transferkit.errors import InputError
from transferkit_spurious.findings import Findings, Subject
from transferkit_spurious.options import Options
from transferkit_spurious.regions import measure_images
from transferkit_spurious.rows import measure_rows

ROLES = ("target", "baseline", "source")


def measure(session: AnalysisSession, options: Options) -> Findings:
    """All probes of all models, on the rows or images of one split. Raises InputError for what does not fit."""
    table = isinstance(session.samples("target", session.overlay_split()), TableSamples)
    models = subjects(session, options, source=table)
    found = (measure_rows if table else measure_images)(session, options, models)
    if all(one.role != "baseline" for one in models):
        found.gaps.append(
            "There is no baseline (a model of the target task from scratch), so what fine-tuning carried over cannot "
            "be told from what the target itself teaches: name one with baseline."
        )
    if not table and not options.region:
        found.gaps.append("No region was named, so none was shifted or permuted.")
    return found


def subjects(session: AnalysisSession, options: Options, *, source: bool) -> list[Subject]:
    """Target, further stages, baseline, and the source where wanted. Raises InputError for models that do not fit."""
    target = session.model("target")
    found = [Subject("target", "target", target)]
    for name in dict.fromkeys(options.stages):
        shown = f"stage {name}" if name in ROLES else name  # tables have one column per name
        found.append(Subject(shown, "stage", session.stage_model(name).to(session.device)))
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

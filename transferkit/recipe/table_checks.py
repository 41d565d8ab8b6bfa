"""What is said about images and classes where the data are a table of numbers, and the other way round."""

from __future__ import annotations

from transferkit.recipe import schema
from transferkit.recipe.counting import resolved
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.findings import Findings
from transferkit.recipe.tree import Steps


def check_tables(draft: Draft) -> None:
    """Losses, options, evaluations, corruptions and analyses that do not suit what the data set holds."""
    for name, spec in draft.datasets.items():
        if spec is not None and is_table(draft, name):
            _check_dataset(draft, name, spec)
    for stage in draft.stages:
        if stage.stage is None or resolved(stage.stage.dataset, draft.datasets) is None:
            continue
        if is_table(draft, stage.stage.dataset):
            _check_stage(stage, stage.stage, draft.findings)
        elif stage.stage.loss.name == "mse":
            message = f'mse needs numbers to learn, but the data set "{stage.stage.dataset}" has classes'
            draft.findings.add((*stage.path, "loss", "name"), message, "use cross_entropy or bce, or a table")
        _check_evaluated(draft, stage, stage.stage)
    _check_analyses(draft)


def is_table(draft: Draft, name: str) -> bool:
    """Whether a data set, or the one it is made from, is a table."""
    found = resolved(name, draft.datasets)
    return found is not None and found.synthetic is not None


def _check_dataset(draft: Draft, name: str, spec: schema.Dataset) -> None:
    at: Steps = ("datasets", name)
    table = spec.synthetic
    if table is not None and table.permuted > table.features:
        message = f"{table.permuted} columns cannot be permuted: there are {table.features}"
        draft.findings.add((*at, "synthetic", "permuted"), message)
    if draft.corruptions.get(name):
        message = "are planted in images, and this is a table"
        draft.findings.add((*at, "corruptions"), message, "synthetic: {…, permuted: N} permutes leading columns")
    for key in ("classes", "labels"):
        if getattr(spec, key) is not None:
            draft.findings.add((*at, key), "a table has no classes", "leave it out")


def _check_stage(draft: StageDraft, stage: schema.Stage, findings: Findings) -> None:
    if stage.loss.name != "mse":
        message = f'{stage.loss.name} needs classes, but the data set "{stage.dataset}" is a table of numbers'
        findings.add((*draft.path, "loss", "name"), message, "loss: {name: mse}")
    stopping = stage.early_stopping
    unsuited = {
        ("loss", "label_smoothing"): stage.loss.label_smoothing > 0,
        ("balance",): stage.balance != "none",
        ("mixup",): stage.mixup is not None,
        ("head_init",): stage.head_init == "ridge",
        ("early_stopping", "metric"): stopping is not None
        and stopping.metric == "top1"
        and "metric" in stopping.model_fields_set,
    }
    for steps, given in unsuited.items():
        if given:
            message = f'needs classes, but the data set "{stage.dataset}" is a table of numbers'
            findings.add((*draft.path, *steps), message, "leave it out")
    if stage.augmentation not in (schema.Augmentation(), schema.Augmentation(none=True)):
        findings.add((*draft.path, "augmentation"), "is for images; the rows of a table stay as they are")


def _check_evaluated(draft: Draft, stage: StageDraft, spec: schema.Stage) -> None:
    table = is_table(draft, spec.dataset)
    for position, name in enumerate(spec.evaluate):
        if resolved(name, draft.datasets) is not None and is_table(draft, name) != table:
            kinds = ("holds images", "is a table") if table else ("is a table", "holds images")
            message = f'"{name}" {kinds[0]}, but "{spec.dataset}", which the stage learns, {kinds[1]}'
            draft.findings.add((*stage.path, "evaluate", position), message)


def _check_analyses(draft: Draft) -> None:
    """Analyzers look at classes unless their class says `takes_tables = True`."""
    stages = {stage.name: stage.stage for stage in draft.stages if stage.stage is not None}
    last = draft.stages[-1].stage if draft.stages else None
    for use in draft.analyses:
        core = use.core
        if not isinstance(core, schema.AnalyzerUse) or use.component is None:
            continue
        target = stages.get(core.stage) if core.stage is not None else last
        names = [name for name in (target.dataset if target else None, core.dataset) if name is not None]
        tables = [name for name in names if is_table(draft, name)]
        if tables and not getattr(use.component.cls, "takes_tables", False):
            message = f'looks at images and their classes, but "{tables[0]}" is a table of numbers'
            draft.findings.add((*use.path, "use"), message, "spurious looks at tables")

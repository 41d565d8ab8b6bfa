"""What is said about images and classes where the data are a table of numbers, and the other way round."""

from __future__ import annotations

from contextlib import suppress

from transferkit.errors import InputError
from transferkit.recipe import schema
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.lineage import resolved
from transferkit.recipe.tree import Steps
from transferkit.recipe.uses import AnalyzerUse
from transferkit.words.formats import listing


def check_tables(draft: Draft) -> None:
    """Losses, options, evaluations, corruptions and analyses that do not suit what the data set holds."""
    for name, spec in draft.datasets.items():
        if spec is not None and is_table(draft, name):
            _check_table(draft, name, spec)
    for stage in draft.stages:
        if stage.stage is not None and resolved(stage.stage.dataset, draft.datasets) is not None:
            _check_stage_data(draft, stage, stage.stage)
    _check_table_analyses(draft)


def is_table(draft: Draft, name: str) -> bool:
    """Whether a data set, or the one it is made from, is a table."""
    found = resolved(name, draft.datasets)
    return found is not None and found.synthetic is not None


def _check_table(draft: Draft, name: str, spec: schema.Dataset) -> None:
    at: Steps = ("datasets", name)
    table = spec.synthetic
    if table is not None and table.permuted > table.features:
        message = f"{table.permuted} columns cannot be permuted: there are {table.features}"
        draft.problems.add((*at, "synthetic", "permuted"), message)
    if any(use.kind == "corruption" for use in draft.planted.get(name, [])):
        message = "are planted in images, and this is a table"
        draft.problems.add((*at, "corruptions"), message, "synthetic: {…, permuted: N} permutes leading columns")
    for key in ("classes", "labels", "known"):
        if getattr(spec, key) is not None:
            draft.problems.add((*at, key), "a table has no classes", "leave it out")


def _check_stage_data(draft: Draft, drafted: StageDraft, stage: schema.Stage) -> None:
    problems, path, table = draft.problems, drafted.path, is_table(draft, stage.dataset)
    if table and isinstance(stage.loss, schema.Loss) and stage.loss.name != "mse":
        message = f'{stage.loss.name} needs classes, but the data set "{stage.dataset}" is a table of numbers'
        problems.add((*path, "loss", "name"), message, "loss: {name: mse}")
    if not table and stage.own_loss.name == "mse":
        message = f'mse needs numbers to learn, but the data set "{stage.dataset}" has classes'
        problems.add((*path, "loss", "name"), message, "use cross_entropy or bce, or a table")
    stopping = stage.early_stopping
    unsuited = {
        ("loss", "label_smoothing"): stage.own_loss.label_smoothing > 0,
        ("balance",): stage.balance != "none",
        ("mixup",): stage.mixup is not None,
        ("head_init",): stage.head_init == "ridge",
        ("early_stopping", "metric"): stopping is not None
        and stopping.metric == "top1"
        and "metric" in stopping.model_fields_set,
    }
    for steps in [steps for steps, given in unsuited.items() if table and given]:
        message = f'needs classes, but the data set "{stage.dataset}" is a table of numbers'
        problems.add((*path, *steps), message, "leave it out")
    for use in drafted.uses if table else ():
        if use.kind == "augmentation":
            problems.add((*use.path, "use"), "is for images; the rows of a table stay as they are", "leave it out")
        elif use.kind == "metric" and use.component is not None and not use.component.declared.takes_tables:
            message = f'looks at classes, but the data set "{stage.dataset}" is a table of numbers'
            problems.add((*use.path, "use"), message, "leave it out")
    if table and stage.augmentation not in (schema.Augmentation(), schema.Augmentation(none=True)):
        problems.add((*path, "augmentation"), "is for images; the rows of a table stay as they are")
    for position, name in enumerate(stage.evaluate):
        if resolved(name, draft.datasets) is not None and is_table(draft, name) != table:
            kinds = ("holds images", "is a table") if table else ("is a table", "holds images")
            message = f'"{name}" {kinds[0]}, but "{stage.dataset}", which the stage learns, {kinds[1]}'
            problems.add((*path, "evaluate", position), message)


def _check_table_analyses(draft: Draft) -> None:
    """Analyzers look at classes unless they declare that they take tables."""
    stages = {stage.name: stage.stage for stage in draft.stages if stage.stage is not None}
    last = draft.stages[-1].stage if draft.stages else None
    for use in draft.analyses:
        core = use.core
        if not isinstance(core, AnalyzerUse) or use.component is None:
            continue
        target = stages.get(core.stage) if core.stage is not None else last
        names = [name for name in (target.dataset if target else None, core.dataset) if name is not None]
        tables = [name for name in names if is_table(draft, name)]
        if tables and not use.component.declared.takes_tables:
            message = f'looks at images and their classes, but "{tables[0]}" is a table of numbers'
            others = []
            for name in draft.registry.names("analyzer"):
                with suppress(InputError):  # one that cannot be used is no help
                    if draft.registry.get("analyzer", name).declared.takes_tables:
                        others.append(name)
            hint = f"{listing(others)} look{'s' if len(others) == 1 else ''} at tables" if others else None
            draft.problems.add((*use.path, "use"), message, hint)

"""What a recipe says against itself: names that do not exist, stages out of order, plugins in the wrong place."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

from transferkit.contained import contained, told
from transferkit.hooks import RunPlugins
from transferkit.hookspecs import REFERENCE
from transferkit.recipe import schema
from transferkit.recipe.draft import Draft, StageDraft
from transferkit.recipe.findings import Findings
from transferkit.recipe.paths import STARTS, looks_like_path
from transferkit.recipe.plugin_use import Use, requested
from transferkit.recipe.schema import SPLITS
from transferkit.recipe.stage_checks import check_stage
from transferkit.recipe.table_checks import check_tables
from transferkit.recipe.tree import Node, Steps
from transferkit.registry import reference_options
from transferkit.suggest import did_you_mean


def check_recipe(draft: Draft) -> None:
    """Every contradiction that can be seen without data, weights or torch."""
    _check_stage_names(draft)
    _check_datasets(draft)
    _check_analyses(draft)
    for use in draft.uses:
        _check_names(draft, use)
    check_tables(draft)
    device = draft.header.device if draft.header is not None else "auto"
    for index, stage in enumerate(draft.stages):
        _check_references(draft, stage, index)
        _check_carry_on(draft, stage, index)
        check_stage(stage, device, draft.findings)
        _check_plugins(stage, draft.findings)
        check_instance_names(stage.uses, draft.findings)


def check_instance_names(uses: Iterable[Use], findings: Findings) -> None:
    """Logs, state and overrides know a plugin by its name, so there can be only one of each."""
    seen: set[str] = set()
    for use in uses:
        if use.core is None:
            continue
        name = use.core.instance_name
        if name in seen:
            hint = "give one of them a name: of its own"
            findings.add((*use.path, "name" if use.core.name else "use"), f'a second plugin is called "{name}"', hint)
        seen.add(name)


def _check_stage_names(draft: Draft) -> None:
    seen: set[str] = set()
    for stage in draft.stages:
        if stage.name in seen:
            draft.findings.add((*stage.path, "name"), f'a second stage is called "{stage.name}"')
        if stage.name in STARTS:
            draft.findings.add(
                (*stage.path, "name"), f'"{stage.name}" is a kind of start, so no stage can be called so'
            )
        seen.add(stage.name or "")


def _check_references(draft: Draft, stage: StageDraft, index: int) -> None:
    _known(draft, (*stage.path, "dataset"), stage.node.child("dataset"), draft.datasets, "data set")
    evaluate = stage.node.child("evaluate")
    if evaluate is not None and isinstance(evaluate.value, list):
        for position, item in enumerate(evaluate.value):
            if item.value in SPLITS:  # in the metrics, these names are the stage's own splits
                message = f'a data set called "{item.value}" cannot be evaluated beside the split of that name'
                draft.findings.add((*stage.path, "evaluate", position), message, "give the data set another name")
            _known(draft, (*stage.path, "evaluate", position), item, draft.datasets, "data set")
    start = stage.node.text("start")
    if start is None or start in STARTS or (looks_like_path(start) and not _is_stage(draft, start)):
        return
    earlier = [other.name for other in draft.stages[:index] if other.name]
    if start in earlier:
        return
    path: Steps = (*stage.path, "start")
    if start == stage.name:
        draft.findings.add(path, "a stage cannot start from itself", did_you_mean("", [*STARTS, *earlier]))
    elif _is_stage(draft, start):
        hint = "stages run in the order of the list: put that one first"
        draft.findings.add(path, f'the stage "{start}" comes later', hint)
    else:
        message = f'there is no stage called "{start}", and no such folder'
        draft.findings.add(path, message, did_you_mean(start, [*STARTS, *earlier]))


def _check_carry_on(draft: Draft, stage: StageDraft, index: int) -> None:
    """What goes on must be there: the last state of an earlier stage, of the same optimizer."""
    this = stage.stage
    if this is None or not this.carry_on or this.start in STARTS:
        return
    earlier = next((other.stage for other in draft.stages[:index] if other.name == this.start), None)
    path: Steps = (*stage.path, "carry_on")
    if earlier is None:
        message = f'needs a stage of this recipe to go on from, and "{this.start}" is none'
        draft.findings.add(path, message, "leave it out, or run both stages in one recipe")
    elif earlier.keep != "last":
        message = f'goes on from the end of "{this.start}", but that stage keeps its best epoch'
        draft.findings.add(path, message, f"give the stage {this.start} keep: last")
    elif "optimizer" in this.carry_on and earlier.optimizer.name.lower() != this.optimizer.name.lower():
        message = f'"{this.start}" has the optimizer {earlier.optimizer.name}, this stage {this.optimizer.name}'
        draft.findings.add(path, message, "use the same optimizer, or leave optimizer out of carry_on")
    elif "optimizer" in this.carry_on and (earlier.optimizer.layer_decay is None) != (
        this.optimizer.layer_decay is None
    ):  # the parameters come in another order then: each would go on with another one's momentum
        message = f'one of "{this.start}" and this stage has optimizer.layer_decay, the other has not'
        draft.findings.add(path, message, "give both one, or leave optimizer out of carry_on")


def _is_stage(draft: Draft, name: str) -> bool:
    return name in draft.stage_names()


def _known(draft: Draft, path: Steps, node: Node | None, names: Iterable[str], what: str) -> None:
    names = list(names)
    if node is not None and isinstance(node.value, str) and node.value not in names and names:
        message = f'there is no {what} called "{node.value}"'
        draft.findings.add(path, message, did_you_mean(node.value, names))


def _check_names(draft: Draft, use: Use) -> None:
    """Options that name stages or data sets of the recipe."""
    if use.component is None:
        return
    known = {"stage": draft.stage_names(), "data set": list(draft.datasets)}
    for name, what in reference_options(use.component).items():
        path = (*use.path, name)
        node = draft.root.find(path)
        if node is not None and isinstance(node.value, list):
            for position, item in enumerate(node.value):
                _known(draft, (*path, position), item, known[what], what)
        else:
            _known(draft, path, node, known[what], what)


def _check_datasets(draft: Draft) -> None:
    datasets = draft.root.child("datasets")
    circles: set[frozenset[str]] = set()
    for name in draft.datasets:
        node = datasets.child(name) if datasets is not None else None
        base = node.child("from") if node is not None else None
        _known(draft, ("datasets", name, "from"), base, draft.datasets, "data set")
        circle = _circle(draft, name)
        if circle and frozenset(circle) not in circles:
            circles.add(frozenset(circle))
            draft.findings.add(("datasets", name, "from"), f"goes round in a circle: {' -> '.join(circle)}")
        check_instance_names(draft.corruptions.get(name, []), draft.findings)


def _circle(draft: Draft, name: str) -> list[str]:
    """The chain of `from` that leads from a data set back to itself."""
    chain = [name]
    while (dataset := draft.datasets.get(chain[-1])) is not None and dataset.from_ is not None:
        chain.append(dataset.from_)
        if dataset.from_ == name:
            return chain
        if dataset.from_ in chain[:-1]:
            return []
    return []


def _check_analyses(draft: Draft) -> None:
    check_instance_names(draft.analyses, draft.findings)
    for use in draft.analyses:
        node = draft.root.find(use.path)
        if node is None:
            continue
        _known(draft, (*use.path, "dataset"), node.child("dataset"), draft.datasets, "data set")
        for key in ("stage", "source", "baseline"):
            _known(draft, (*use.path, key), node.child(key), draft.stage_names(), "stage")


def _check_plugins(draft: StageDraft, findings: Findings) -> None:
    for use in draft.uses:
        if use.plugin is None:
            continue
        _check_weight(use, findings)
        if draft.stage is not None:
            _check_conflicts(use, draft.stage, findings)
            _check_needs(use, draft.stage, findings)
            _ask_plugin(use, draft.stage, findings)


def _check_conflicts(use: Use, stage: schema.Stage, findings: Findings) -> None:
    conflicts: frozenset[str] = getattr(use.component.cls, "conflicts", frozenset()) if use.component else frozenset()
    decay = stage.optimizer.weight_decay
    if "weight_decay" in conflicts and decay > 0 and "weight_decay" not in stage.accept:
        findings.add(
            (*use.path, "use"),
            f"pulls the weights as the optimizer's weight_decay ({decay:g}) does: they would be pulled twice",
            "set optimizer.weight_decay: 0, or say that it is meant with accept: [weight_decay]",
        )


def _check_weight(use: Use, findings: Findings) -> None:
    """Penalties and anchors are multiplied by a weight; nothing else is."""
    if not isinstance(use.core, schema.RegularizerUse) or use.component is None:
        return
    weighs = bool({"penalty", "anchors"} & set(use.component.hooks))
    given = findings.root.find((*use.path, "weight"))
    if weighs and (given is None or given.value is None):
        findings.add((*use.path, "weight"), "is missing", at_key=True)
    elif not weighs and "transform_features" in use.component.hooks and use.core.weight is not None:
        message = f"{use.core.use} adds nothing to the loss, so it has no weight"
        findings.add((*use.path, "weight"), message, "leave it out")


def _check_needs(use: Use, stage: schema.Stage, findings: Findings) -> None:
    if use.plugin is None:
        return
    wanted = requested(use.plugin)
    at = (*use.path, "use")
    if stage.start == "scratch" and wanted & REFERENCE:
        findings.add(
            at, "needs the model that the stage starts from, but start is scratch", "leave it out of this stage"
        )
    calls = {name for call in RunPlugins([use.plugin]).calls("penalty") for name in call.requests}
    moved_by_head = {"logits", "head", "model"}
    if stage.fixed_features and calls & {"features", "taps"} and not calls & moved_by_head:
        findings.add(at, "acts on the features, which fixed_features keeps as they are", "leave out one of the two")
    if (
        isinstance(use.core, schema.RegularizerUse)
        and stage.curriculum is None
        and use.core.on not in ("target", "all")
    ):
        message = f'there is no stream "{use.core.on}": without a curriculum the only one is target'
        findings.add((*use.path, "on"), message)


def _ask_plugin(use: Use, stage: schema.Stage, findings: Findings) -> None:
    """The plugin's own `check(stage)`."""
    if use.plugin is None:
        return
    try:
        with contained():
            for call in RunPlugins([use.plugin]).calls("check"):
                sentences = call(SimpleNamespace(stage=stage)) or ()
                for text in [sentences] if isinstance(sentences, str) else sentences:
                    findings.add((*use.path, "use"), text)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's check that fails is reported like everything else
        findings.add((*use.path, "use"), f"its check failed with {told(error)}", str(use.plugin.component.owner))

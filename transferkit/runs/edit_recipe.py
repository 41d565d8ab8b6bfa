"""The recipe of `transferkit edit`: a finished model, one edit, its data, perhaps the standard audit. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.errors import InputError
from transferkit.plugins.options import reference_options
from transferkit.plugins.registry import Registry
from transferkit.recipe import Loaded, schema
from transferkit.recipe.given_data import read_data
from transferkit.recipe.load import load_tree
from transferkit.recipe.paths import absolute
from transferkit.recipe.tree import Mark, Node, shown
from transferkit.runs.folder import RunFolder
from transferkit.runs.model_place import ModelPlace, model_place
from transferkit.runs.origin import analysis_options, baseline_of, recipe_of, source_data, trained_stage
from transferkit.words.names import plain_name

TARGET, SOURCE = "target-images", "source-images"
BASELINE, BEFORE, AFTER = "baseline", "before", "edited"


@dataclass(frozen=True)
class EditRequest:
    """What `transferkit edit` was asked; paths are relative to the working directory."""

    model: str
    use: str
    options: Mapping[str, Node]
    stage: str | None = None
    target_data: str | None = None
    source_data: str | None = None
    source_labels: str | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None


def edit_recipe(asked: EditRequest, registry: Registry, analyses: Sequence[str] = ()) -> Loaded:
    """The recipe, checked like any other. `analyses` are the analyzers that look at the model before and after.

    What is not given is as in the run that the model lies in. Raises InputError.
    """
    place = model_place(asked.model, asked.stage)
    run = recipe_of(place)
    known = None if run is None else next((one for one in run.stages if one.name == place.stage), None)
    component = registry.get("edit", asked.use)
    data, names = _data(asked, place, run, known)
    options = dict(asked.options)
    for option, what in reference_options(component.options).items():
        info = component.options.model_fields[option]
        if option not in options and what == "data set" and info.is_required():
            options[option] = _node(_source(asked, names, run, known), f"transferkit edit {shown(place.folder)}")
    trained = known if known is None or run is None else trained_stage(run, known)
    images = {} if trained is None or asked.target_data else {
        "fraction": trained.fraction, "validation": trained.validation,
    }  # fmt: skip
    batch = {} if trained is None else {"batch_size": trained.batch_size}
    common = {"dataset": names["target"], **images, **batch}
    content: dict[str, Any] = {
        "name": f"edit-{plain_name(asked.use)}",
        "seed": asked.seed if asked.seed is not None else 0 if run is None else run.seed,
        "device": asked.device or ("auto" if run is None else run.device),
        "threads": asked.threads if asked.threads is not None or run is None else run.threads,
        "model": _model(place, run),
        "datasets": data,
    }
    stage = {"name": AFTER, "start": str(place.folder.absolute()), **common}
    stages = [stage]
    if analyses:
        stages = [{**stage, "name": BEFORE, "edits": []}, {**stage, "start": BEFORE}]
        baseline = _baseline(place, run, known)
        if baseline is not None:
            stages.insert(0, {**stage, "name": BASELINE, "start": str(baseline.absolute()), "edits": []})
        compared = {} if baseline is None else {"baseline": BASELINE}
        source = _source(asked, names, run, known)
        looked = [(name, one) for one in (BEFORE, AFTER) for name in analyses]
        options_of_run = {} if run is None or known is None else analysis_options(run, known)
        content["analyses"] = [
            {
                "use": name, "name": f"{plain_name(name)}-{one}", "stage": one, "dataset": source,
                **compared, **options_of_run.get(plain_name(name), {}),
            }
            for name, one in looked
        ]  # fmt: skip
    content["stages"] = stages
    root = _node(content, f"transferkit edit {shown(place.folder)}")
    use = Node({"use": _node(asked.use, f"--use {asked.use}"), **options}, Mark(f"--use {asked.use}"))
    root.value["stages"].value[-1].value["edits"] = Node([use], Mark(f"--use {asked.use}"))
    return load_tree(root, Path(f"transferkit edit {shown(place.folder)}"), registry=registry)


def _data(
    asked: EditRequest, place: ModelPlace, run: schema.Recipe | None, stage: schema.Stage | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The data sets as a recipe has them, and {role: name}: the target's, and the source's where it is given."""
    found = {} if run is None else Loaded(run, place.folder, {}, None).data()["datasets"]  # type: ignore[arg-type]
    names = {} if stage is None else {"target": stage.dataset}
    for role, given, name in (("target", asked.target_data, TARGET), ("source", asked.source_data, SOURCE)):
        if given is not None and (given not in found or Path(given).expanduser().exists()):
            found[name] = read_data(given, found).model_dump(mode="json", by_alias=True, exclude_unset=True)
            names[role] = name
        elif given is not None:
            names[role] = given
    if "target" not in names:
        raise InputError(
            f"{shown(place.folder)} is not (a stage of) a run of transferkit, which would say which images it was "
            "trained on; also give --target-data DIR"
        )
    if asked.source_labels is not None and "source" in names:
        labels = absolute(asked.source_labels, Path.cwd())
        base = names["source"]
        found[SOURCE] = {**found[base], "labels": labels} if base == SOURCE else {"from": base, "labels": labels}
        names["source"] = SOURCE
    return found, names


def _source(asked: EditRequest, names: Mapping[str, str], run: schema.Recipe | None, stage: schema.Stage | None) -> str:
    known = names.get("source") or (source_data(run, stage) if run is not None and stage is not None else None)
    if known is None:
        raise InputError(
            f"no run says which images the source of {asked.model} was trained on; give --source-data DIR: one folder "
            "for each class, those that are meant and others"
        )
    return known


def _baseline(place: ModelPlace, run: schema.Recipe | None, stage: schema.Stage | None) -> Path | None:
    """The model that the run's analyses compare this one with, if it is there."""
    name = None if run is None or stage is None else baseline_of(run, stage)
    if place.run is None or name is None:
        return None
    folder = RunFolder(place.run).model(name)
    return folder if folder.is_dir() else None


def _model(place: ModelPlace, run: schema.Recipe | None) -> dict[str, Any]:
    if run is not None:
        return run.model.model_dump(mode="json")
    return {"name": f"local-dir:{place.folder.absolute()}"}


def _node(value: Any, where: str) -> Node:
    mark = Mark(where, folder=Path.cwd())
    if isinstance(value, Mapping):
        return Node({str(key): _node(inner, where) for key, inner in value.items()}, mark)
    if isinstance(value, list | tuple):
        return Node([_node(inner, where) for inner in value], mark)
    return Node(value, mark)

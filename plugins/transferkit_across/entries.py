"""Which models are compared: one entry per run (or audit) and stage, with the reports of the analyses made of it.

And how each was trained, as far as its run says: architecture, images, steps, epochs, seed, settings.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from transferkit.analysis import RunRecord, dotted_keys, is_run, read_run, run_folders
from transferkit.errors import InputError, Problem, did_you_mean
from transferkit.model import model_place

OWN = "across"
ELSEWHERE = ("stage", "source", "baseline", "every")  # an analysis' keys that say what it looks at, not how
Report = Mapping[str, Any]
LENGTH = {
    "fraction", "epochs", "steps", "dataset", "evaluate", "evaluate_every", "workers", "schedule", "checkpoints",
    "early_stopping", "data",
}  # fmt: skip
"""A stage's keys, and groups of keys, that say how long and on how much it trains."""


@dataclass(frozen=True)
class Facts:
    """What is recorded of one trained model; None where nothing is."""

    architecture: str | None = None
    images: int | None = None
    steps: int | None = None
    epochs: int | None = None
    planned: str | None = None
    """Whether the recipe gives the length in "epochs" or in "steps"."""
    kept_epoch: int | None = None
    """The epoch, counted from 1, whose weights were kept and analysed."""
    top1: float | None = None
    """On the target's validation images, of the weights that were kept."""
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything the training depended on but the seed: {dotted key: value}."""

    @property
    def family(self) -> str:
        """The settings without those of size and length: models of one family can be points of one line."""
        kept = {key: value for key, value in self.settings.items() if key.partition(".")[0] not in LENGTH}
        return json.dumps(kept, default=str)

    @property
    def recipe(self) -> str:
        """The settings as one text: models that share it differ by their seed only."""
        return json.dumps(self.settings, sort_keys=True, default=str)


@dataclass(frozen=True)
class Entry:
    """One model that was analysed."""

    label: str
    run: RunRecord
    stage: str | None
    """None for an audit."""
    facts: Facts
    reports: Mapping[str, Report]
    """{plugin: content of its report.json}."""
    analysis: str | None = None
    """The one analysis that was chosen, where there are several of its kind."""


class _Found(NamedTuple):
    run: RunRecord
    stage: str | None
    name: str
    report: Report
    chosen: bool


def read_entries(given: Sequence[str | Path]) -> list[Entry]:
    """The entries of runs and audits, given as RUN, RUN:ANALYSIS, or a folder that holds several.

    A run over several seeds counts as one run per seed. Raises InputError for folders that are no runs, runs without
    analyses, several analyses of one kind and stage of which none is named, and fewer than two entries.
    """
    groups: dict[tuple[Path, str | None], dict[str, _Found]] = {}
    for text in given:
        path, analysis = split_name(str(text))
        for run in _runs(path):
            here = _analyses(run, analysis)
            if not here:
                raise InputError(
                    f"{run.path} has no analyses; give its recipe some, or audit its model with `transferkit audit`"
                )
            for one in here:
                groups.setdefault((run.path.resolve(), one.stage), {}).setdefault(one.name, one)
    entries = [entry for group in groups.values() for entry in _of_group(list(group.values()))]
    if len(entries) < 2:
        raise InputError(f"two or more analysed models are needed to compare, and there are {len(entries)}")
    return _labelled(entries)


def split_name(text: str) -> tuple[Path, str | None]:
    """RUN:ANALYSIS as the two; a path that exists is a path, colons and all."""
    path, colon, name = text.rpartition(":")
    if colon and path and name and not Path(text).exists() and Path(path).expanduser().is_dir():
        return Path(path).expanduser(), name
    return Path(text).expanduser(), None


def _runs(path: Path) -> list[RunRecord]:
    runs: list[RunRecord] = []
    for folder in run_folders([path]):
        run = read_run(folder)
        seeds = sorted(inner for inner in (folder / "repeats").glob("seed-*") if is_run(inner))
        runs += [read_run(inner) for inner in seeds] if run.repeats and seeds else [run]
    return runs


def _analyses(run: RunRecord, wanted: str | None) -> list[_Found]:
    order = list(run.result.get("analyses") or {})
    paths = {path.parent.name: path for path in (run.path / "analyses").glob("*/report.json")}
    names = sorted(paths, key=lambda name: (order.index(name) if name in order else len(order), name))
    if wanted is not None and wanted not in paths:
        raise InputError(Problem("", f'{run.path} has no finished analysis "{wanted}"', did_you_mean(wanted, names)))
    stages = [stage.get("name") for stage in run.recipe.get("stages") or [] if isinstance(stage, Mapping)]
    found = []
    for name in names if wanted is None else [wanted]:
        try:
            report = json.loads(paths[name].read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{paths[name]} is damaged: {error}") from error
        if not isinstance(report, dict) or not isinstance(report.get("plugin"), str):
            raise InputError(f"{paths[name]} is no report of an analysis: it does not say of which plugin")
        if report["plugin"] != OWN:
            stage = (report.get("parameters") or {}).get("stage") or (stages[-1] if stages else None)
            found.append(_Found(run, None if run.kind == "audit" else stage, name, report, wanted is not None))
    return found


def _of_group(group: Sequence[_Found]) -> list[Entry]:
    plugins = Counter(one.report["plugin"] for one in group)
    run, stage = group[0].run, group[0].stage
    if max(plugins.values()) == 1:
        return [_entry(run, stage, {one.report["plugin"]: one.report for one in group})]
    if all(one.chosen for one in group):
        return [_entry(run, stage, {one.report["plugin"]: one.report}, one.name) for one in group]
    plugin = plugins.most_common(1)[0][0]
    names = ", ".join(one.name for one in group if one.report["plugin"] == plugin)
    of = f" of the stage {stage}" if stage else ""
    raise InputError(f"{run.path} has several {plugin} analyses{of} ({names}); choose with {run.path}:NAME")


def _entry(run: RunRecord, stage: str | None, reports: Mapping[str, Report], analysis: str | None = None) -> Entry:
    """With the analyses' options among the settings: numbers of other options do not repeat the same measurement."""
    facts = facts_of(run, stage)
    options = {
        f"{plugin}.{key}": value
        for plugin, report in reports.items()
        for key, value in (report.get("parameters") or {}).items()
        if key not in ELSEWHERE
    }
    return Entry("", run, stage, dataclasses.replace(facts, settings={**facts.settings, **options}), reports, analysis)


def _labelled(entries: Sequence[Entry]) -> list[Entry]:
    """With names for people: the parts in which the entries differ, down to the folder where nothing else tells."""
    folders = [entry.run.path.resolve() for entry in entries]
    given = [entry.run.recipe.get("name") or entry.run.audit.get("name") for entry in entries]
    labels = ["" for _ in entries]
    for values in (
        [str(name or folder.name) for name, folder in zip(given, folders, strict=True)],
        [entry.facts.architecture or "" for entry in entries],
        [entry.stage or "" for entry in entries],
        [entry.analysis or "" for entry in entries],
        ["" if entry.facts.seed is None else f"seed {entry.facts.seed}" for entry in entries],
        [folder.name for folder in folders],
        [str(folder) for folder in folders],
    ):
        if len(set(labels)) == len(entries):
            break
        pairs = list(zip(labels, values, strict=True))
        if len(set(pairs)) > len(set(labels)):
            labels = [" ".join(filter(None, pair)) for pair in pairs]
    return [dataclasses.replace(entry, label=label) for entry, label in zip(entries, labels, strict=True)]


def facts_of(run: RunRecord, stage: str | None) -> Facts:
    """Of a run's stage; of an audit, those of the run its target came from, as far as that is still there."""
    if stage is None:
        return _of_audit(run)
    entry, recipe = run.stages.get(stage) or {}, run.stage_recipe(stage)
    images, best, last = entry.get("images"), entry.get("best") or {}, entry.get("last") or {}
    planned = next((unit for unit in ("epochs", "steps") if recipe.get(unit) is not None), None)
    seed = run.result.get("seed", run.recipe.get("seed"))
    return Facts(
        architecture=_architecture(run, stage),
        images=_whole(images.get("train") if isinstance(images, Mapping) else None),
        steps=_whole(entry.get("steps")),
        epochs=_whole(last["epoch"] + 1) if isinstance(last.get("epoch"), int | float) else None,
        planned=planned,
        kept_epoch=_whole(best["epoch"] + 1) if isinstance(best.get("epoch"), int | float) else None,
        top1=best.get("top1") if best.get("split", "val") == "val" else None,
        seed=_whole(seed),
        settings=_settings(run, stage) | {"classes": entry.get("classes")},
    )


def _of_audit(run: RunRecord) -> Facts:
    target = (run.audit.get("models") or {}).get("target")
    target = target if isinstance(target, Mapping) else {"given": target}
    try:
        place = model_place(str(target.get("given")))
        if place.run is not None and place.stage is not None and is_run(place.run):
            return facts_of(read_run(place.run), place.stage)
    except (InputError, OSError):
        pass  # the model may be anywhere by now; its architecture was recorded
    return Facts(architecture=target.get("architecture"), settings={"audit": str(run.path)})


def _architecture(run: RunRecord, stage: str) -> str | None:
    """As the model folder has it, which knows what a stage inherits; else as the recipe has it."""
    path = run.path / "stages" / stage / "model" / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("architecture")
    except (OSError, ValueError, AttributeError):
        found = None
    return str(found) if found else run.model_name(stage) or None


def _settings(run: RunRecord, stage: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The stage's own settings, its model's and data set's, and those of the stage it starts from."""
    recipe = {key: value for key, value in run.stage_recipe(stage).items() if key not in ("name", "model")}
    model = run.stage_recipe(stage).get("model") or run.recipe.get("model")
    data = (run.recipe.get("datasets") or {}).get(recipe.get("dataset"))
    before, start = {}, recipe.get("start")
    if isinstance(start, str) and run.stage_recipe(start) and start not in (*seen, stage):
        recipe.pop("start")
        before = {f"start.{key}": value for key, value in _settings(run, start, (*seen, stage)).items()}
    return dict(dotted_keys(recipe)) | dict(dotted_keys({"model": model, "data": data})) | before


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

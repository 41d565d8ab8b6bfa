"""Which models are compared: one entry per run (or audit) and stage, with the reports of the analyses made of it."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.analysis.comparison import expand
from transferkit.analysis.run_folder import RunFolder, is_run, read_run
from transferkit.errors import InputError, Problem
from transferkit.suggest import did_you_mean
from transferkit_across.facts import Facts, facts_of, folder_of, report_settings

OWN = "across"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One model that was analysed."""

    label: str
    run: RunFolder
    stage: str | None
    """None for an audit."""
    facts: Facts
    reports: Mapping[str, Report]
    """{plugin: content of its report.json}."""
    analysis: str | None = None
    """The one analysis that was chosen, where there are several of its kind."""

    @property
    def name(self) -> str:
        """The recipe's or the audit's name."""
        return str(self.run.recipe.get("name") or self.run.audit.get("name") or folder_of(self.run.path))


@dataclass(frozen=True)
class _Found:
    run: RunFolder
    stage: str | None
    name: str
    report: Report
    chosen: bool


def read_entries(given: Sequence[str | Path]) -> list[Entry]:
    """The entries of runs and audits, given as RUN, RUN:ANALYSIS, or a folder that holds several.

    A run over several seeds counts as one run per seed. Raises InputError for folders that are no runs, runs without
    analyses, several analyses of one kind and stage of which none is named, and fewer than two entries.
    """
    found: list[_Found] = []
    for text in given:
        path, analysis = split_name(str(text))
        for run in _runs(path):
            here = _analyses(run, analysis)
            if not here:
                raise InputError(
                    f"{run.path} has no analyses; give its recipe some, or audit its model with `transferkit audit`"
                )
            found += here
    return _entries(found)


def split_name(text: str) -> tuple[Path, str | None]:
    """RUN:ANALYSIS as the two; a path that exists is a path, colons and all."""
    path, colon, name = text.rpartition(":")
    if colon and path and name and not Path(text).exists() and Path(path).expanduser().is_dir():
        return Path(path).expanduser(), name
    return Path(text).expanduser(), None


def _runs(path: Path) -> list[RunFolder]:
    runs: list[RunFolder] = []
    for folder in expand([path]):
        run = read_run(folder)
        seeds = sorted(inner for inner in (folder / "repeats").glob("seed-*") if is_run(inner))
        runs += [read_run(inner) for inner in seeds] if run.repeats and seeds else [run]
    return runs


def _analyses(run: RunFolder, wanted: str | None) -> list[_Found]:
    order = list(run.result.get("analyses") or {})
    paths = {path.parent.name: path for path in (run.path / "analyses").glob("*/report.json")}
    names = sorted(paths, key=lambda name: (order.index(name) if name in order else len(order), name))
    if wanted is not None and wanted not in paths:
        raise InputError(Problem("", f'{run.path} has no finished analysis "{wanted}"', did_you_mean(wanted, names)))
    chosen = names if wanted is None else [wanted]
    found = [_read(run, name, paths[name], wanted is not None) for name in chosen]
    return [one for one in found if one.report.get("plugin") != OWN]


def _read(run: RunFolder, name: str, path: Path, chosen: bool) -> _Found:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(report, dict) or not isinstance(report.get("plugin"), str):
        raise InputError(f"{path} is no report of an analysis: it does not say of which plugin")
    stages = [stage.get("name") for stage in run.recipe.get("stages") or [] if isinstance(stage, Mapping)]
    stage = (report.get("parameters") or {}).get("stage") or (stages[-1] if stages else None)
    return _Found(run, None if run.kind == "audit" else stage, name, report, chosen)


def _entries(found: Sequence[_Found]) -> list[Entry]:
    groups: dict[tuple[Path, str | None], list[_Found]] = {}
    for one in found:
        group = groups.setdefault((one.run.path.resolve(), one.stage), [])
        if all(one.name != other.name for other in group):
            group.append(one)
    entries = [entry for group in groups.values() for entry in _of_group(group)]
    if len(entries) < 2:
        raise InputError(f"two or more analysed models are needed to compare, and there are {len(entries)}")
    return _labelled(entries)


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


def _entry(run: RunFolder, stage: str | None, reports: Mapping[str, Report], analysis: str | None = None) -> Entry:
    facts = facts_of(run, stage)
    settings = {**facts.settings, **report_settings(reports)}
    return Entry("", run, stage, dataclasses.replace(facts, settings=settings), reports, analysis)


def _labelled(entries: Sequence[Entry]) -> list[Entry]:
    """With names for people: the parts in which the entries differ, down to the folder where nothing else tells."""
    parts: dict[str, list[str]] = {
        "name": [entry.name for entry in entries],
        "architecture": [entry.facts.architecture or "" for entry in entries],
        "stage": [entry.stage or "" for entry in entries],
        "analysis": [entry.analysis or "" for entry in entries],
        "seed": ["" if entry.facts.seed is None else f"seed {entry.facts.seed}" for entry in entries],
        "folder": [folder_of(entry.run.path) for entry in entries],
        "path": [str(entry.run.path.resolve()) for entry in entries],
    }
    labels = ["" for _ in entries]
    for values in parts.values():
        if len(set(labels)) == len(entries):
            break
        if len(set(values)) > 1 and _tells(labels, values):
            labels = [" ".join(filter(None, pair)) for pair in zip(labels, values, strict=True)]
    return [dataclasses.replace(entry, label=label) for entry, label in zip(entries, labels, strict=True)]


def _tells(labels: Sequence[str], values: Sequence[str]) -> bool:
    """Whether the values tell apart what the labels do not."""
    return len(set(zip(labels, values, strict=True))) > len(set(labels))

"""`report.html`: one self-contained page about a run or audit, made from the files of its folder and nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.plugins.contained import told
from transferkit.report import Report, json_text
from transferkit.reporting import page
from transferkit.reporting.analyses import read_analyses, sections
from transferkit.reporting.audit import audit_title, facts
from transferkit.reporting.page import Pictures
from transferkit.reporting.seeds import analyses_over_seeds, pointers, seeds_of, stages_over_seeds
from transferkit.reporting.stages import stage_section
from transferkit.reporting.verdict import verdict
from transferkit.runs.folder import RunFolder
from transferkit.runs.record import RunRecord, read_run, validation_images
from transferkit.surface import __version__
from transferkit.system.atomic import write_text
from transferkit.words.formats import duration, epoch_of, mean_of
from transferkit.words.text import printable

if TYPE_CHECKING:
    from transferkit.training.progress import Display

WORDS = ("stage", "model", "start", "data set")
"""The columns of the table of stages that hold no numbers."""


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the folder of a run or audit; return its path. InputError when it is neither."""
    run = read_run(run_dir)
    path = run_dir / "report.html"
    text = page.page(f"{title_of(run)} – transferkit report", _body(run))
    write_text(path, printable(text))
    return path


def make_report(folder: RunFolder, display: Display) -> None:
    """Write report.html. The results are safe on disk: a picture of them that fails must not take them away."""
    try:
        write_report(folder.path)
    except Exception as error:
        display.warn(f"report.html could not be written: {type(error).__name__}: {error}")
        display.record(traceback.format_exc())


def write_findings(folder: Path, name: str, found: Report, *, title: str, parameters: Mapping[str, Any]) -> None:
    """Write a folder like that of an audit for what the command line verb `name` found: the report, and the page on it.

    Pictures are in `folder/analyses/NAME` already.
    """
    inner = f"analyses/{name}"
    found.write(folder / inner, name=name, plugin=name, version=__version__, parameters=parameters)
    analyses = {name: f"{inner}/report.json"}
    RunFolder(folder).write_result(
        {"status": "done", "title": title, "run_dir": str(folder), "stages": {}, "analyses": analyses}
    )
    write_report(folder)


def title_of(run: RunRecord) -> str:
    """The title that result.json gives, the recipe's name, or the folder's; for an audit, what was audited."""
    if run.kind == "audit":
        return audit_title(run.audit)
    return str(run.result.get("title") or run.recipe.get("name") or run.path.resolve().parent.name)


def _body(run: RunRecord) -> Iterator[str]:
    analyses, pictures = read_analyses(run), Pictures()
    yield page.heading(1, title_of(run))
    yield page.box("Warnings", [str(text) for text in run.result.get("warnings") or []])
    yield from _part("The line of facts", lambda: page.paragraph(" · ".join(_facts(run)), "meta"))
    if run.recipe.get("description"):
        yield page.paragraph(str(run.recipe["description"]))
    yield from _part("The summary", lambda: verdict(run, analyses))
    yield page.box("Damaged files in this folder", run.problems)
    yield from _part("The list of analyses", lambda: pointers(run))
    if run.kind == "audit":
        yield from _part("What was audited", lambda: facts(run))
    else:
        yield from _part("The table of stages", lambda: _stage_table(run))
    yield from _part("The table of seeds", lambda: stages_over_seeds(run))
    yield from _part("The analyses over seeds", lambda: analyses_over_seeds(run))
    for name, stage in run.stages.items() if not run.repeats else ():
        yield from _part(f"Stage {name}", partial(stage_section, run, name, stage, pictures))
    for one in analyses:
        yield from _part(f"Analysis {one.name}", partial(sections, [one], pictures))
    yield from _recipe(run)
    yield from _part("The environment", lambda: _environment(run))


def _part(name: str, make: Callable[[], str | Iterable[str]]) -> Iterator[str]:
    """A part of the page. Numbers that are none of their kind in a damaged file cost the part, not the page."""
    try:
        made = make()
        yield from [made] if isinstance(made, str) else list(made)
    except Exception as error:
        yield page.box(f"{name} could not be made from the files of this folder", [told(error)])


def _facts(run: RunRecord) -> Iterator[str]:
    yield run.path.resolve().name
    yield f"status {run.result.get('status', 'unknown')}"
    seed = {**run.audit, **run.result, **run.recipe}.get("seed")
    if run.repeats:
        yield f"seeds {', '.join(seeds_of(run))}"
    elif seed is not None:
        yield f"seed {seed}"
    seconds = run.seconds()
    if seconds is not None:
        yield f"{duration(seconds)} of training and evaluation"
    elif isinstance(run.result.get("seconds"), int | float):
        yield duration(run.result["seconds"])


def _stage_table(run: RunRecord) -> str:
    if not run.stages:  # a finished folder without stages is of analyses alone
        return "" if run.status == "done" else page.paragraph("No stage has been recorded yet.")
    parts = [_stage_row(run, name, stage) for name, stage in run.stages.items()]
    left_out = ("epoch", "model") if run.repeats else ()  # means of seeds are wide, and of epochs not telling
    columns = [column for column in parts[0] if column not in left_out]
    rows = [[part[column] for column in columns] for part in parts]
    return page.table(columns, rows, right=[place for place, name in enumerate(columns) if name not in WORDS])


def _stage_row(run: RunRecord, name: str, stage: Mapping[str, Any]) -> dict[str, str]:
    recipe, best, last = run.stage_recipe(name), stage.get("best") or {}, stage.get("last") or {}
    return {
        "stage": name,
        "best top-1": mean_of(best, "top1"),
        "epoch": epoch_of(best),
        "last top-1": mean_of(last, "top1"),
        "best loss": mean_of(best, "loss"),
        "last loss": mean_of(last, "loss"),
        "images": str(validation_images(run, name) or "–"),
        "time": duration(run.seconds(name)),
        "model": run.model_name(name) or "–",
        "start": str(recipe.get("start", "–")),
        "data set": str(recipe.get("dataset", "–")),
    }


def _recipe(run: RunRecord) -> Iterator[str]:
    path = run.path / "recipe.yaml"
    if path.is_file():
        yield page.heading(2, "Recipe")
        yield page.paragraph("With every value as the run used it; recipe.yaml in the run folder re-runs it.", "small")
        yield page.folded("recipe.yaml", path.read_text(encoding="utf-8", errors="replace"))


def _environment(run: RunRecord) -> Iterator[str]:
    if run.env:
        yield page.heading(2, "Environment")
        yield page.table(["", ""], [[key, value] for key, value in _flat(run.env)])


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted keys; lists of plain values on one line."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        elif isinstance(inner, list):
            texts = (item if isinstance(item, str) else json_text(item) for item in inner)
            yield f"{prefix}{key}", " ".join(texts)
        else:
            yield f"{prefix}{key}", "–" if inner is None else str(inner)

"""`report.html`: one self-contained page about a run, made from the files of its folder and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from transferkit.analysis import page
from transferkit.analysis.report_analyses import analyses
from transferkit.analysis.report_stages import chance, stage_section
from transferkit.analysis.run_folder import RunFolder, read_run, validation_images, wilson
from transferkit.formats import duration, epoch_of, number, percent

ENDINGS = {
    "done": "The run finished.",
    "stopped": "The run was stopped before its end; what follows is what it had recorded by then.",
    "failed": "The run failed; what follows is what it had recorded by then.",
    "running": "The run had not finished when this page was written.",
}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run folder; return its path. InputError when it is no run folder."""
    run = read_run(run_dir)
    path = run_dir / "report.html"
    partial = path.with_suffix(".html.part")
    partial.write_text(page.page(f"{title_of(run)} – transferkit report", _body(run)), encoding="utf-8")
    partial.replace(path)
    return path


def title_of(run: RunFolder) -> str:
    """The recipe's name, or the folder's."""
    return str(run.recipe.get("name") or run.path.resolve().parent.name)


def _body(run: RunFolder) -> Iterator[str]:
    yield page.heading(1, title_of(run))
    yield page.paragraph(" · ".join(_facts(run)), "meta")
    if run.recipe.get("description"):
        yield page.paragraph(str(run.recipe["description"]))
    yield from _verdict(run)
    yield _stage_table(run)
    yield _repeats(run)
    for name, stage in run.stages.items():
        yield from stage_section(run, name, stage)
    yield from analyses(run)
    yield from _recipe(run)
    yield from _environment(run)


def _facts(run: RunFolder) -> Iterator[str]:
    yield run.path.resolve().name
    yield f"status {run.result.get('status', 'unknown')}"
    if "seed" in run.recipe:
        yield f"seed {run.recipe['seed']}"
    seconds = run.seconds()
    if seconds is not None:
        yield f"{duration(seconds)} of training and evaluation"


def _verdict(run: RunFolder) -> Iterator[str]:
    """What was found, in sentences with numbers."""
    status = str(run.result.get("status", ""))
    if status != "done":
        yield page.paragraph(ENDINGS.get(status, f"The run's status is “{status or 'unknown'}”."))
    if run.result.get("error"):
        yield page.warning("Error", [str(run.result["error"])])
    for name, stage in run.stages.items():
        text = " ".join(stage_sentences(run, name, stage)).replace(" %", "\N{NO-BREAK SPACE}%")
        yield f"<p><strong>{escape(name)}.</strong> {escape(text)}</p>"
    for name, stage in run.stages.items():
        yield page.warning(f"Warnings in stage {name}", [str(text) for text in stage.get("warnings") or []])
    yield page.warning("Warnings", [str(text) for text in run.result.get("warnings") or []])


def stage_sentences(run: RunFolder, name: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """The stage's outcome: best top-1, epoch, number of images with the interval, chance, last epoch."""
    best, last = stage.get("best") or {}, stage.get("last") or {}
    model, start = run.model_name(name) or "the model", run.stage_recipe(name).get("start")
    origin = f", started from {start}," if start else ""
    if best.get("top1") is None:
        yield f"{model}{origin} has no evaluation on record."
        return
    images, guess = validation_images(run, name), chance(stage)
    if best.get("split") == "train":
        yield f"There is no validation split, so these are training numbers: {model}{origin} reached"
        yield f"a top-1 of {_mean(best, 'top1')}{_at(best)}, which says nothing about new images."
        return
    yield f"{model}{origin} reached a top-1 of {_mean(best, 'top1')}{_at(best)}{_images(best, images)}."
    if guess is not None:
        yield f"Guessing would give {percent(guess)} ({len(stage['classes'])} classes)."
        if images and wilson(best["top1"], images)[0] <= guess:
            yield "That is not distinguishable from guessing."
    if last.get("top1") is not None and last.get("epoch") != best.get("epoch"):
        yield f"The last epoch ({epoch_of(last)}) has {percent(last['top1'])}."
    if images and last.get("epoch") not in (None, best.get("epoch")):
        yield "The best epoch was chosen on these same images, which flatters it a little."
    count = len(stage.get("warnings") or [])
    yield f"{count} warning{'s were' if count > 1 else ' was'} raised." if count else "No warning was raised."


def _at(best: Mapping[str, Any]) -> str:
    return f" at epoch {epoch_of(best)}" if best.get("epoch") is not None and not best.get("sd") else ""


def _images(best: Mapping[str, Any], images: int | None) -> str:
    if not images:
        return ""
    if best.get("sd"):
        return f" (mean ± sd over seeds) on {images} validation images"
    low, high = wilson(best["top1"], images)
    return f" on {images} validation images (95 % interval {100 * low:.1f} to {percent(high)})"


def _mean(best: Mapping[str, Any], metric: str) -> str:
    """The value, with its standard deviation over seeds if there is one."""
    show = percent if metric == "top1" else number
    spread = (best.get("sd") or {}).get(metric)
    if spread is None:
        return show(best.get(metric))
    if metric == "top1":
        return f"{100 * best[metric]:.1f} ± {percent(spread)}"
    return f"{number(best.get(metric))} ± {number(spread, 2)}"


def _stage_table(run: RunFolder) -> str:
    if not run.stages:
        return page.paragraph("No stage has been recorded yet.")
    columns = [
        "stage",
        "best top-1",
        "epoch",
        "last top-1",
        "best loss",
        "images",
        "time",
        "model",
        "start",
        "data set",
    ]
    rows = []
    for name, stage in run.stages.items():
        recipe, best, last = run.stage_recipe(name), stage.get("best") or {}, stage.get("last") or {}
        rows.append(
            [
                name,
                _mean(best, "top1"),
                epoch_of(best),
                percent(last.get("top1")),
                _mean(best, "loss"),
                validation_images(run, name) or "–",
                duration(run.seconds(name)),
                run.model_name(name) or "–",
                recipe.get("start", "–"),
                recipe.get("dataset", "–"),
            ]
        )
    return page.table(columns, rows, right=range(1, 7))


def _repeats(run: RunFolder) -> str:
    """The values of each seed, when the run is a mean over seeds."""
    if not run.repeats:
        return ""
    rows = [
        [
            str(repeat.get("seed", "–")),
            name,
            percent((stage.get("best") or {}).get("top1")),
            number((stage.get("best") or {}).get("loss")),
            epoch_of(stage.get("best") or {}),
            str(repeat.get("run_dir", "–")),
        ]
        for repeat in run.repeats
        for name, stage in (repeat.get("stages") or {}).items()
    ]
    text = f"Means and standard deviations above are over {len(run.repeats)} seeds; these are their values."
    columns = ["seed", "stage", "best top-1", "best loss", "epoch", "run folder"]
    return page.heading(2, "Seeds") + page.paragraph(text) + page.table(columns, rows, right=(0, 2, 3, 4))


def _recipe(run: RunFolder) -> Iterator[str]:
    path = run.path / "recipe.yaml"
    if path.is_file():
        yield page.heading(2, "Recipe")
        yield page.paragraph("With every value as the run used it; recipe.yaml in the run folder re-runs it.", "small")
        yield page.folded("recipe.yaml", path.read_text(encoding="utf-8", errors="replace"))


def _environment(run: RunFolder) -> Iterator[str]:
    if run.env:
        yield page.heading(2, "Environment")
        yield page.table(["", ""], [[key, value] for key, value in _flat(run.env)])


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted keys; lists of plain values on one line."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        elif isinstance(inner, list):
            yield (
                f"{prefix}{key}",
                " ".join(item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in inner),
            )
        else:
            yield f"{prefix}{key}", "–" if inner is None else str(inner)

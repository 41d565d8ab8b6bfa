"""The first lines of the report: what came out, in sentences with the numbers that carry them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from transferkit.analysis import page
from transferkit.analysis.report_analyses import Analysis
from transferkit.analysis.report_audit import findings
from transferkit.analysis.report_stages import chance
from transferkit.analysis.run_folder import RunFolder, validation_images, wilson
from transferkit.formats import epoch_of, mean_of, percent

ENDINGS = {
    "done": "The {kind} finished.",
    "stopped": "The {kind} was stopped before its end; what follows is what it had recorded by then.",
    "failed": "The {kind} failed; what follows is what it had recorded by then.",
    "killed": "The {kind} was killed; what follows is what it had recorded by then.",
    "running": "The {kind} had not finished when this page was written.",
}


def verdict(run: RunFolder, analyses: Sequence[Analysis]) -> Iterator[str]:
    """What was found by training and by every analysis; conditions that were asked for; warnings; what is missing."""
    status = run.status
    if status != "done":
        text = ENDINGS.get(status, f"The {{kind}}'s status is “{status}”.")
        yield page.paragraph(text.replace("{kind}", run.kind))
    if run.result.get("error"):
        yield page.warning("Error", [str(run.result["error"])])
    for name, stage in run.stages.items():
        yield _sentences(escape(name), " ".join(stage_sentences(run, name, stage)))
    for one in analyses:
        if one.report.get("verdict"):
            yield _sentences(_link(one), str(one.report["verdict"]))
    yield findings(run)
    for name, stage in run.stages.items():
        yield page.warning(f"Warnings in stage {name}", [str(text) for text in stage.get("warnings") or []])
    yield page.warning("Could not be measured", list(_gaps(analyses)))


def _sentences(name: str, text: str) -> str:
    """A paragraph that begins with an escaped name in bold; no line breaks before a percent sign."""
    plain = text.replace(" %", "\N{NO-BREAK SPACE}%")
    return f"<p><strong>{name}.</strong> {escape(plain)}</p>"


def _link(one: Analysis) -> str:
    return f'<a href="#{quote(one.anchor)}">{escape(one.name)}</a>'


def _gaps(analyses: Sequence[Analysis]) -> Iterator[str]:
    for one in analyses:
        for text in [one.problem] if one.problem else one.texts("gaps"):
            yield page.Markup(f"<strong>{escape(one.name)}:</strong> {escape(text)}")


def stage_sentences(run: RunFolder, name: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """The stage's outcome: best top-1, epoch, number of images with the interval, chance, last epoch."""
    best, last = stage.get("best") or {}, stage.get("last") or {}
    if stage.get("kept") == "last":  # then the best epoch is no model that anybody has
        best = last
    model, start = run.model_name(name) or "the model", run.stage_recipe(name).get("start")
    origin = f", started from {start}," if start else ""
    if best.get("top1") is None and best.get("loss") is not None:
        yield from _loss_sentences(run, name, stage, f"{model}{origin}")
        return
    if best.get("top1") is None:
        yield f"{model}{origin} has no evaluation on record."
        return
    images, guess = validation_images(run, name), chance(stage)
    if best.get("split") == "train":
        yield f"There is no validation split, so these are training numbers: {model}{origin} reached"
        yield f"a top-1 of {mean_of(best, 'top1')}{_at(best)}, which says nothing about new images."
        return
    yield f"{model}{origin} reached a top-1 of {mean_of(best, 'top1')}{_at(best)}{_images(best, images)}."
    if guess is not None:
        yield f"Guessing would give {percent(guess)} ({len(stage['classes'])} classes)."
        if images and wilson(best["top1"], images)[0] <= guess:
            yield "That is not distinguishable from guessing."
    if last.get("top1") is not None and last.get("epoch") != best.get("epoch"):
        yield f"The last epoch ({epoch_of(last)}) has {mean_of(last, 'top1')}."
    if images and last.get("epoch") not in (None, best.get("epoch")):
        yield "The best epoch was chosen on these same images, which flatters it a little."
    seen = stage.get("images_seen") or {}
    if len(seen) > 1:
        yield f"It was trained on {' and '.join(f'{count:,} {stream} images' for stream, count in seen.items())}."
    count = len(stage.get("warnings") or [])
    yield f"{count} warning{'s were' if count > 1 else ' was'} raised." if count else "No warning was raised."


def _loss_sentences(run: RunFolder, name: str, stage: Mapping[str, Any], model: str) -> Iterator[str]:
    """The outcome of a stage that learnt numbers: there is a loss, and no accuracy."""
    best, last = stage["best"], stage.get("last") or {}
    where = "training" if best.get("split") == "train" else "validation"
    over = " (mean ± sd over seeds)" if best.get("sd") else ""
    rows = validation_images(run, name) if where == "validation" else None
    on = f" on {rows} validation rows" if rows else f" on {where} rows"
    yield f"{model} reached a mean squared error of {mean_of(best, 'loss')}{_at(best)}{over}{on}."
    r2 = ((stage.get("evaluations") or {}).get("val") or {}).get("r2")
    if r2 is not None:
        yield f"It explains {percent(r2)} of the outputs' variance."
    if last.get("loss") is not None and last.get("epoch") != best.get("epoch"):
        yield f"The last epoch ({epoch_of(last)}) has {mean_of(last, 'loss')}."
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

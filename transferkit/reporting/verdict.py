"""The first lines of the report: what came out, in sentences with the numbers that carry them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from transferkit.reporting import page
from transferkit.reporting.analyses import Analysis
from transferkit.reporting.audit import findings
from transferkit.reporting.stages import chance
from transferkit.runs.record import RunRecord, validation_images
from transferkit.statistics import measured_share
from transferkit.words.formats import epoch_of, mean_of, percent

ENDINGS = {
    "done": "The {kind} finished.",
    "stopped": "The {kind} was stopped before its end; what follows is what it had recorded by then.",
    "failed": "The {kind} failed; what follows is what it had recorded by then.",
    "killed": "The {kind} was killed; what follows is what it had recorded by then.",
    "running": "The {kind} had not finished when this page was written.",
}


def verdict(run: RunRecord, analyses: Sequence[Analysis]) -> Iterator[str]:
    """What was found by training and by every analysis; conditions that were asked for; warnings; what is missing."""
    status = run.status
    if status != "done":
        text = ENDINGS.get(status, f"The {{kind}}'s status is “{status}”.")
        yield page.paragraph(text.replace("{kind}", run.kind))
    if run.result.get("error"):
        yield page.box("Error", [str(run.result["error"])])
    for name, stage in run.stages.items():
        yield _sentences(escape(name), " ".join(stage_sentences(run, name, stage)))
    for one in analyses:
        if one.report.get("verdict"):
            yield _sentences(_link(one), str(one.report["verdict"]))
    yield findings(run)
    for name, stage in run.stages.items():
        yield page.box(f"Warnings in stage {name}", [str(text) for text in stage.get("warnings") or []])
    yield page.box("Could not be measured", list(_gaps(analyses)))


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


def stage_sentences(run: RunRecord, name: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """The stage's outcome: best top-1, epoch, number of images with the interval, chance, last epoch.

    Of a stage that learnt numbers there is a loss, and no accuracy.
    """
    best, last = stage.get("best") or {}, stage.get("last") or {}
    if stage.get("kept") == "last":  # then the best epoch is no model that anybody has
        best = last
    model, start = run.model_name(name) or "the model", run.stage_recipe(name).get("start")
    model += f", started from {start}," if start else ""
    images, trained = validation_images(run, name), best.get("split") == "train"
    other = last.get("epoch") != best.get("epoch")
    if best.get("top1") is not None and trained:
        yield f"There is no validation split, so these are training numbers: {model} reached"
        yield f"a top-1 of {mean_of(best, 'top1')}{_at(best)}, which says nothing about new images."
        return
    if best.get("top1") is not None:
        yield f"{model} reached a top-1 of {mean_of(best, 'top1')}{_at(best)}{_images(best, images)}."
        guess = chance(stage)
        if guess is not None:
            yield f"Guessing would give {percent(guess)} ({len(stage['classes'])} classes)."
            if images and not measured_share(best["top1"], images).above(guess):
                yield "That is not distinguishable from guessing."
        if last.get("top1") is not None and other:
            yield f"The last epoch ({epoch_of(last)}) has {mean_of(last, 'top1')}."
        if images and last.get("epoch") is not None and other:
            yield "The best epoch was chosen on these same images, which flatters it."
        seen = stage.get("images_seen") or {}
        if len(seen) > 1:
            yield f"It was trained on {' and '.join(f'{count:,} {stream} images' for stream, count in seen.items())}."
    elif best.get("loss") is not None:
        over = " (mean ± sd over seeds)" if best.get("sd") else ""
        rows = "training rows" if trained else f"{images} validation rows" if images else "validation rows"
        yield f"{model} reached a mean squared error of {mean_of(best, 'loss')}{_at(best)}{over} on {rows}."
        r2 = ((stage.get("evaluations") or {}).get("val") or {}).get("r2")
        if r2 is not None:
            yield f"It explains {percent(r2)} of the outputs' variance."
        if last.get("loss") is not None and other:
            yield f"The last epoch ({epoch_of(last)}) has {mean_of(last, 'loss')}."
    else:
        yield f"{model} has no evaluation on record."
        return
    count = len(stage.get("warnings") or [])
    yield f"{count} warning{'s were' if count > 1 else ' was'} raised." if count else "No warning was raised."


def _at(best: Mapping[str, Any]) -> str:
    return f" at epoch {epoch_of(best)}" if best.get("epoch") is not None and not best.get("sd") else ""


def _images(best: Mapping[str, Any], images: int | None) -> str:
    if not images:
        return ""
    if best.get("sd"):
        return f" (mean ± sd over seeds) on {images} validation images"
    top1 = measured_share(best["top1"], images)
    return f" on {images} validation images (95 % interval {100 * top1.low:.1f} to {percent(top1.high)})"

"""What the report says in sentences: how the run ended, what is worth acting on, how each stage came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from transferkit.reporting import page
from transferkit.reporting.analyses import Analysis
from transferkit.reporting.audit import findings
from transferkit.reporting.front import chance
from transferkit.runs.record import RunRecord, validation_images
from transferkit.statistics import measured_share
from transferkit.words.formats import count, epoch_of, interval, mean_of, percent

ENDINGS = {
    "done": "The {kind} finished.",
    "stopped": "The {kind} was stopped before its end; what follows is what it had recorded by then.",
    "failed": "The {kind} failed; what follows is what it had recorded by then.",
    "killed": "The {kind} was killed; what follows is what it had recorded by then.",
    "running": "The {kind} had not finished when this page was written.",
}


def status(run: RunRecord) -> Iterator[str]:
    """How the run ended, where it did not end well; doubts about everything below; what `--fail-on` asked for."""
    yield page.box("Warnings", [str(text) for text in run.result.get("warnings") or []])
    if run.status != "done":
        text = ENDINGS.get(run.status, f"The {{kind}}'s status is “{run.status}”.")
        yield page.paragraph(text.replace("{kind}", run.kind))
    if run.result.get("error"):
        yield page.box("Error", [str(run.result["error"])])
    yield findings(run)


def warnings(run: RunRecord, analyses: Sequence[Analysis]) -> Iterator[str]:
    """What is worth acting on, of all stages; damaged files; and, closed, what could not be measured."""
    raised = [
        page.Markup(f"<strong>Stage {escape(name)}:</strong> {escape(str(text))}")
        for name, stage in run.stages.items()
        for text in stage.get("warnings") or []
    ]
    yield page.box("Worth acting on", raised)
    yield page.box("Damaged files in this folder", [*run.problems, *(one.problem for one in analyses if one.problem)])
    gaps = list(_gaps(analyses))
    if gaps:
        listed = "".join(f"<li>{text}</li>" for text in gaps)
        yield page.closed(f"Not measured: {count(len(gaps), 'thing')}", f"<ul>{listed}</ul>")


def _gaps(analyses: Sequence[Analysis]) -> Iterator[str]:
    for one in analyses:
        for text in one.texts("gaps"):
            yield f"<strong>{escape(one.name)}:</strong> {escape(text)}"


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
    raised = len(stage.get("warnings") or [])
    if raised:
        yield f"{raised} warning{'s were' if raised > 1 else ' was'} raised."


def _at(best: Mapping[str, Any]) -> str:
    return f" at epoch {epoch_of(best)}" if best.get("epoch") is not None and not best.get("sd") else ""


def _images(best: Mapping[str, Any], images: int | None) -> str:
    if not images:
        return ""
    if best.get("sd"):
        return f" (mean ± sd over seeds) on {images} validation images"
    top1 = measured_share(best["top1"], images)
    return f" on {images} validation images (95 % interval {interval(top1.low, top1.high, unit='share')})"

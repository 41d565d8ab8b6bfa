"""What `temperature` finds, what it says of it, and what it writes into the model's folder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

import transferkit.model as models
from transferkit.analysis import COLOURS, curves, legend_above
from transferkit.report import Report, Table, percent
from transferkit.statistics import Estimate, sample_mean, share_of
from transferkit_temperature.scaling import (
    Floats,
    bins_of,
    calibration_error,
    classwise_error,
    cross_fitted,
    fit_temperature,
    losses,
    probabilities,
)

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_temperature.analyzer import TemperatureScaling

FEWEST = 20  # images below which nothing is fitted


def report(session: AnalysisSession, options: TemperatureScaling) -> Report:
    """Everything `TemperatureScaling.analyze` returns."""
    found = session.predictions("target", "target")
    logits, labels = found.logits().double().numpy(), found.labels.numpy()
    if len(labels) < FEWEST:
        unknown = {key: math.nan for metric in options.metrics for key in metric.keys} | {"images": float(len(labels))}
        return Report(unknown, gaps=[f"A temperature is fitted on at least {FEWEST} images; there are {len(labels)}."])
    temperature = fit_temperature(logits, labels)
    others = cross_fitted(logits, labels, options.folds, session.rng("temperature"))
    before, after = losses(logits, labels), losses(logits, labels, others)
    gain = sample_mean(before - after)
    metrics: dict[str, float | Estimate] = {"temperature": temperature, "gain": gain}
    rows = []
    for name, loss, chances in (
        ("before", before, probabilities(logits)),
        ("after", after, probabilities(logits, others)),
    ):
        sure, right = chances.max(axis=1), chances.argmax(axis=1) == labels
        metrics[f"nll_{name}"] = float(loss.mean())
        metrics[f"error_{name}"] = calibration_error(sure, right, options.bins)
        metrics[f"classwise_{name}"] = classwise_error(chances, labels, options.bins)
        rows += reliability(name, sure, right, options.bins)
    metrics["images"] = len(labels)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float) and name != "temperature"}
    helps = gain.above(0)
    note = install(session, options, temperature, numbers, len(labels)) if helps else "It is not kept."
    return Report(
        metrics=metrics,
        tables={"reliability": Table.of(rows)},
        captions={"reliability.svg": draw(session, rows)},
        verdict=verdict(metrics, gain, temperature),
        notes=[
            note,
            f"Judged by cross-fitting in {options.folds} parts, drawn class by class: each image by a temperature that "
            "was fitted on the others. The interval is of the mean saved loss over images (Student's t, paired).",
        ],
    )


def verdict(metrics: dict[str, float | Estimate], gain: Estimate, temperature: float) -> str:
    """Whether it helps, in sentences."""
    errors = [metrics["error_before"], metrics["error_after"]]
    before, after = (percent(float(one)) for one in errors if not isinstance(one, Estimate))
    measured = f"{gain.value:.3f} of the loss ({gain.low:.3f} to {gain.high:.3f}) on images that it was not fitted on"
    if not gain.above(0):
        return (
            f"No temperature makes its probabilities certainly better: the best, {temperature:.2f}, saves {measured}."
        )
    how = "less" if temperature > 1 else "more"
    return (
        f"Divided by the temperature {temperature:.2f}, its answers are {how} sure, and their probabilities better: it "
        f"saves {measured}; the calibration error goes from {before} to {after}."
    )


def reliability(name: str, sure: Floats, right: np.ndarray, bins: int) -> list[dict[str, float | str]]:
    """One row per bin that has images."""
    of = bins_of(sure, bins)
    rows: list[dict[str, float | str]] = []
    for number in np.unique(of).tolist():
        chosen = of == number
        share = share_of(float(right[chosen].sum()), int(chosen.sum()))
        rows.append(
            {"when": name, "from": number / bins, "to": (number + 1) / bins, "images": share.n}
            | {"probability": float(sure[chosen].mean())}
            | share.columns("right", "right_low", "right_high")
        )
    return rows


def draw(session: AnalysisSession, rows: list[dict[str, float | str]]) -> str:
    """The reliability diagram."""
    lines = {
        f"{name} the temperature": (
            [row["probability"] for row in rows if row["when"] == name],
            [row["right"] for row in rows if row["when"] == name],
        )
        for name in ("before", "after")
    }
    with session.picture("reliability", 4.8, 4.6) as (_, axes):
        axes.plot([0, 1], [0, 1], linestyle="--", color=COLOURS[7], linewidth=1)
        curves(axes, lines, marker="o")
        axes.set_xlabel("probability of the class that is named")
        axes.set_ylabel("share named right")
        legend_above(axes, 1)
    return "How often the model is right, by how sure it is; on the dashed line both agree."


def install(
    session: AnalysisSession, options: TemperatureScaling, temperature: float, measured: dict[str, float], images: int
) -> str:
    """Write it into the model's folder as the option says; a sentence on what was done."""
    folder = session.model_folder("target")
    if folder is None:
        return "The model was not opened from a model folder, so the temperature was not written."
    run = models.model_place(str(folder)).run
    own = run is not None and session.out.resolve().is_relative_to(run.resolve())
    if not (own if options.install is None else options.install):
        return (
            "The model's folder was left as it is; run the analysis with install: true to write the temperature there."
        )
    models.write_temperature(folder, models.Temperature(temperature, images, measured))
    return (
        f"The temperature is written into the model's folder, {folder}: "
        "predict and serve take it for calibrated answers."
    )

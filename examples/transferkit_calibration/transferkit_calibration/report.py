"""What `calibration` finds, and what it says of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from transferkit.analysis import COLOURS, dots
from transferkit.report import Report, Table, percent
from transferkit.statistics import Estimate, middle, resample, share_of
from transferkit_calibration.scores import Floats, bins_of, calibration_error

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession


def report(session: AnalysisSession, bins: int, resamples: int) -> Report:
    """Everything `Calibration.analyze` returns."""
    found = session.predictions("target", "target")
    probability = found.logits().double().softmax(dim=1)
    confidence = probability.amax(dim=1).numpy()
    right = (found.predicted() == found.labels).double().numpy()
    if not len(right):
        return Report(dict.fromkeys(("error", "confidence", "top1"), math.nan), gaps=["There are no images."])

    def of(rows: np.ndarray) -> float:
        return calibration_error(confidence[rows], right[rows], bins)

    resampled = resample(of, [len(right)], resamples, session.rng("calibration")) if resamples else np.array([math.nan])
    low, high = middle(resampled)
    error = Estimate(calibration_error(confidence, right, bins), float(low), float(high), len(right))
    mean, top1 = float(confidence.mean()), float(right.mean())
    rows = table(confidence, right, bins)
    return Report(
        metrics={"error": error, "confidence": mean, "top1": top1},
        tables={"reliability": rows},
        captions={"reliability.svg": draw(session, rows)},
        verdict=f"The model is {percent(mean)} sure on average and right for {percent(top1)} of {len(right)} images; "
        f"its probabilities are off by {percent(error.value)}.",
        notes=[f"{bins} bins of equal width; the interval is of {resamples} resamples of images, seed {session.seed}."],
    )


def table(confidence: Floats, right: Floats, bins: int) -> Table:
    """One row per bin that has images."""
    of = bins_of(confidence, bins)
    rows = []
    for number in np.unique(of).tolist():
        chosen = of == number
        share = share_of(float(right[chosen].sum()), int(chosen.sum()))
        rows.append(
            {
                "from": number / bins,
                "to": (number + 1) / bins,
                "images": share.n,
                "confidence": float(confidence[chosen].mean()),
                "top1": share.value,
                "top1_low": share.low,
                "top1_high": share.high,
            }
        )
    return Table.of(rows)


def draw(session: AnalysisSession, rows: Table) -> str:
    """The reliability diagram."""
    columns = dict(zip(rows.columns, zip(*rows.rows, strict=True), strict=True))
    shares = [Estimate(*ends) for ends in zip(columns["top1"], columns["top1_low"], columns["top1_high"], strict=True)]
    with session.picture("reliability", 4.6, 4.4) as (_, axes):
        axes.plot([0, 1], [0, 1], linestyle="--", color=COLOURS[1])
        dots(axes, columns["confidence"], shares, colour=COLOURS[0])
        axes.set_xlabel("probability of the class that is named")
        axes.set_ylabel("share named right")
    return "How often the model is right, by how sure it is, with 95 % intervals; the dashed line is where both agree."

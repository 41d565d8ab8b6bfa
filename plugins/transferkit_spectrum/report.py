"""What `spectrum` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_spectrum.features import smaller_half
from transferkit_spectrum.layers import Layer, mean_over, relative_distance
from transferkit_spectrum.measure import Findings, measure
from transferkit_spectrum.pictures import draw
from transferkit_spectrum.verdict import notes, verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_spectrum.options import Options

OPEN = 30  # longer tables are shown closed
UNKNOWN = Estimate(math.nan)


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Spectrum.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(found),
        captions=draw(session, found),
        verdict=verdict(found, options),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares. Cosines are means over layers, each layer counting once."""
    layers, source, target = found.layers, found.of("source"), found.of("target")
    return {
        "cosine": mean_over(layers, Layer.mean),
        "cosine_larger_half": mean_over(layers, lambda layer: layer.larger_half),
        "cosine_smaller_half": mean_over(layers, lambda layer: layer.smaller_half),
        "principal_cosine": mean_over(layers, lambda layer: layer.principal),
        "relative_distance": relative_distance(layers),
        "masked_directions": float(sum(layer.masked for layer in layers)) if layers else math.nan,
        "largest_source": source.largest if source else math.nan,
        "largest_target": target.largest if target else math.nan,
        "smaller_half_source": source.smaller_half if source else UNKNOWN,
        "smaller_half_target": target.smaller_half if target else UNKNOWN,
        "smaller_half_change": found.change,
        "collapsed": float(target.collapsed) if target else math.nan,
    }


def tables(found: Findings) -> dict[str, Table]:
    """Those that there is something for.

    angles           a row per layer, from the input to the output
    spectra          a row per model: how the energy of a batch's features is spread over singular values
    singular_values  the averaged spectra, figures 1c and 3b of the paper; those in the smaller half are marked
    sweep            a row per stage; the share of energy in the k smallest values for every k of the sweep
    """
    result = {}
    if found.layers:
        result["angles"] = Table.of(
            [
                {
                    "layer": layer.name,
                    "shape": " x ".join(map(str, layer.shape)),
                    "directions": len(layer.found.cosines),
                    "cosine": layer.mean(),
                    "cosine_larger_half": layer.larger_half,
                    "cosine_smaller_half": layer.smaller_half,
                    "chance": layer.chance,
                    "principal_cosine": layer.principal,
                    "principal_cosine_least": layer.principal_least,
                    "principal_chance": layer.principal_chance,
                    "relative_distance": layer.found.distance,
                    "masked": layer.masked,
                }
                for layer in found.layers
            ],
            folded=len(found.layers) > OPEN,
        )
    if found.features:
        result["spectra"] = Table.of(
            [
                {
                    "model": features.name,
                    "bss": features.penalised,
                    "images": features.images,
                    "batches": len(features.spectra),
                    "largest": features.mean[0],
                    "smallest": features.mean[-1],
                    "largest_share": features.largest,
                    **features.smaller_half.columns("smaller_half_share", "smaller_half_low", "smaller_half_high"),
                }
                for features in found.features
            ]
        )
        size = max(len(f.mean) for f in found.features)
        rows = [
            [i + 1, i >= smaller_half(size), *(f.mean[i] if i < len(f.mean) else math.nan for f in found.features)]
            for i in range(size)
        ]
        names = [features.name for features in found.features]
        result["singular_values"] = Table(["index", "smaller_half", *names], rows, folded=True)
    every = sorted({row.k for row in found.sweep if row.k is not None})
    if found.sweep:
        result["sweep"] = Table.of(
            [
                {
                    "stage": row.stage,
                    "k": row.k,
                    "eta": math.nan if row.eta is None else row.eta,
                    "scale": row.scale,
                    "top1_best": row.top1_best,
                    "top1_last": row.top1_last,
                    **{f"share_smallest_{k}": row.features.smallest(k) if row.features else math.nan for k in every},
                }
                for row in found.sweep
            ]
        )
    return result

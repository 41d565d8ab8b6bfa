"""The tables of the analyzer `spectrum`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from transferkit.report import Table
from transferkit_spectrum.features import smaller_half

if TYPE_CHECKING:
    from transferkit_spectrum.measure import Findings

OPEN = 30  # longer tables are shown closed


def tables(found: Findings) -> dict[str, Table]:
    """Those that there is something for."""
    result = {}
    if found.layers:
        result["angles"] = angles(found)
    if found.features:
        result |= {"spectra": spectra(found), "singular_values": singular_values(found)}
    if found.sweep:
        result["sweep"] = sweep(found)
    return result


def angles(found: Findings) -> Table:
    """One row per layer, from the input to the output."""
    columns = ["layer", "shape", "directions", "cosine", "cosine_larger_half", "cosine_smaller_half", "chance"]
    columns += ["principal_cosine", "principal_cosine_least", "principal_chance", "relative_distance", "masked"]
    rows = []
    for layer in found.layers:
        known = layer.found
        least = float(known.principal.min()) if len(known.principal) else math.nan
        row: list[Any] = [layer.name, " x ".join(map(str, layer.shape)), len(known.cosines), layer.mean()]
        row += [layer.larger_half, layer.smaller_half, layer.chance, layer.principal, least]
        rows.append([*row, layer.principal_chance, known.distance, int(known.masked.sum())])
    return Table(columns, rows, folded=len(rows) > OPEN)


def spectra(found: Findings) -> Table:
    """One row per model: how the energy of a batch's features is spread over singular values."""
    columns = ["model", "bss", "images", "batches", "largest", "smallest", "largest_share", "smaller_half_share"]
    rows = [
        [f.name, f.penalised, f.images, len(f.spectra), f.mean[0], f.mean[-1], f.largest, f.smaller_half]
        for f in found.features
    ]
    return Table(columns, rows)


def singular_values(found: Findings) -> Table:
    """The averaged spectra: figures 1c and 3b of the paper; those in the smaller half are marked."""
    size = max(len(f.mean) for f in found.features)
    rows = [
        [i + 1, i >= smaller_half(size), *(f.mean[i] if i < len(f.mean) else math.nan for f in found.features)]
        for i in range(size)
    ]
    return Table(["index", "smaller_half", *(f.name for f in found.features)], rows, folded=True)


def sweep(found: Findings) -> Table:
    """One row per stage; the share of energy in the k smallest values for every k of the sweep."""
    every = sorted({row.k for row in found.sweep if row.k is not None})
    columns = ["stage", "k", "eta", "scale", "top1_best", "top1_last", *(f"share_smallest_{k}" for k in every)]
    rows = []
    for row in found.sweep:
        shares = [math.nan if row.features is None else row.features.smallest(k) for k in every]
        eta = math.nan if row.eta is None else row.eta
        rows.append([row.stage, row.k, eta, row.scale, row.top1_best, row.top1_last, *shares])
    return Table(columns, rows)

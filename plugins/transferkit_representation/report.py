"""What `representation` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_representation.measure import Findings, mean_of, measure
from transferkit_representation.pictures import draw
from transferkit_representation.verdict import notes, verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_representation.options import Options

FOLDED_FROM = 13  # layers
UNKNOWN = Estimate(math.nan)


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Representation.analyze` returns."""
    found = measure(session, options)
    return Report(
        metrics=metrics(found),
        tables=tables(found),
        captions=draw(session, found),
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=found.gaps,
    )


def metrics(found: Findings) -> dict[str, float | Estimate]:
    """Every metric the analyzer declares."""
    diagonal = {} if found.similarity is None else found.similarity.diagonal
    known = [found.value for found in diagonal.values() if math.isfinite(found.value)]
    before = {row.layer: row for row in found.ranks if row.model == "before"}
    after = {row.layer: row for row in found.ranks if row.model == "after"}
    pairs = [(before[name], row) for name, row in after.items() if name in before]
    last = list(after)[-1]
    numbers: dict[str, float | Estimate] = {
        "cka_diagonal": UNKNOWN if found.similarity is None else found.similarity.mean,
        "cka_diagonal_least": min(known, default=math.nan),
        "cka_features": diagonal.get(last, UNKNOWN),
        "rank_ratio": mean_of(b.rank / a.rank if a.rank and b.rank is not None else math.nan for a, b in pairs),
        "rank_at_ceiling": mean_of(float(row.at_ceiling) if row.rank is not None else math.nan for row in found.ranks),
        "stable_rank_ratio": mean_of(b.stable / a.stable for a, b in pairs),
        "participation_ratio_ratio": found.participation.get("", UNKNOWN),
        "participation_change": found.participation.get(last, UNKNOWN),
        "participation_before": before[last].participation if last in before else math.nan,
        "participation_after": after[last].participation,
    }
    plain = next((looked for looked in found.probed if looked is not found.corrupted), None)
    for prefix, looked in (("probe", plain), ("probe_corrupted", found.corrupted)):
        data = None if looked is None else looked.data
        row = next((row for row in found.probes if row.data == data and row.layer == last), None)
        numbers[f"{prefix}_before"] = row.before if row else UNKNOWN
        numbers[f"{prefix}_after"] = row.after if row else UNKNOWN
        numbers[f"{prefix}_change"] = row.change if row else UNKNOWN
    return numbers


def tables(found: Findings) -> dict[str, Table]:
    """What was measured, layer by layer.

    cka        a row per layer before and a column per layer after, where two models were compared
    compared   a row per layer of both: its CKA with itself, and its participation ratio after over before
    rank       a row per layer and model
    probe      a row per layer and data set
    """
    result = {}
    if (similar := found.similarity) is not None:
        rows = [[name, *values] for name, values in zip(similar.before, similar.values.tolist(), strict=True)]
        result["cka"] = Table(["layer", *similar.after], rows, folded=len(rows) >= FOLDED_FROM)
        same = [
            {
                "layer": name,
                **cka.columns("cka", "cka_low", "cka_high"),
                **found.participation[name].columns("participation_change", "participation_low", "participation_high"),
            }
            for name, cka in similar.diagonal.items()
        ]
        if same:
            result["compared"] = Table.of(same, folded=len(same) >= FOLDED_FROM)
    ranks = [
        {
            "layer": row.layer,
            "model": row.model,
            "n": row.n,
            "d": row.d,
            "numerical_rank": math.nan if row.rank is None else row.rank,
            "ceiling": row.ceiling,
            "at_ceiling": row.at_ceiling,
            "stable_rank": row.stable,
            "participation_ratio": row.participation,
            "entropy_rank": row.entropy,
        }
        for row in found.ranks
    ]
    probes = [
        {
            "layer": row.layer,
            "data": row.data,
            "images": row.images,
            "classes": row.classes,
            **row.before.columns("before", "before_low", "before_high"),
            **row.after.columns("after", "after_low", "after_high"),
            **row.change.columns("change", "change_low", "change_high"),
            "lambda_before": row.lambda_before,
            "lambda_after": row.lambda_after,
            "chance": row.chance,
        }
        for row in found.probes
    ]
    result["rank"] = Table.of(ranks, folded=len(ranks) >= 2 * FOLDED_FROM)
    result["probe"] = Table.of(probes, folded=len(probes) >= 2 * FOLDED_FROM)
    return result

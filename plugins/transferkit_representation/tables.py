"""The tables of the analyzer `representation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.report import Table

if TYPE_CHECKING:
    from transferkit_representation.findings import Probed, Rank, Similarity
    from transferkit_representation.report import Findings

FOLDED_FROM = 13  # rows


def tables(found: Findings) -> dict[str, Table]:
    """`cka` where two models were compared, `rank` and `probe` always."""
    result = {} if found.similarity is None else {"cka": cka_table(found.similarity)}
    return {**result, "rank": rank_table(found.ranks), "probe": probe_table(found.probes)}


def cka_table(similarity: Similarity) -> Table:
    """A row per layer before, a column per layer after."""
    rows = [[name, *values] for name, values in zip(similarity.before, similarity.values.tolist(), strict=True)]
    return Table(["layer", *similarity.after], rows, folded=len(rows) >= FOLDED_FROM)


def rank_table(ranks: list[Rank]) -> Table:
    """A row per layer and model."""
    rows = [
        [
            row.layer,
            row.model,
            row.n,
            row.d,
            float("nan") if row.rank is None else row.rank,
            row.ceiling,
            "yes" if row.at_ceiling else "no",
            row.stable,
            row.participation,
            row.entropy,
        ]
        for row in ranks
    ]
    columns = ["layer", "model", "n", "d", "numerical_rank", "ceiling", "at_ceiling"]
    columns += ["stable_rank", "participation_ratio", "entropy_rank"]
    return Table(columns, rows, folded=len(rows) >= 2 * FOLDED_FROM)


def probe_table(probes: list[Probed]) -> Table:
    """A row per layer and data set."""
    rows = [
        [
            row.layer,
            row.data,
            row.images,
            row.classes,
            row.before,
            row.after,
            *row.change,
            row.lambda_before,
            row.lambda_after,
            row.chance,
        ]
        for row in probes
    ]
    columns = ["layer", "data", "images", "classes", "before", "after", "change", "change_low", "change_high"]
    return Table([*columns, "lambda_before", "lambda_after", "chance"], rows, folded=len(rows) >= 2 * FOLDED_FROM)

"""The tables of the analyzer `spurious`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferkit.report import Table

if TYPE_CHECKING:
    from transferkit_spurious import regions, rows
    from transferkit_spurious.analyzer import Spurious


def of_rows(options: Spurious, found: rows.Table) -> dict[str, Table]:
    """Effects by block, against the baseline, restored columns, LIME by block and by column."""
    models = list(found.loss)
    result = {"interventions": _interventions(found)}
    if found.excess:
        columns = ["model", "block", "intervention", "moved_minus_baseline", "low", "high"]
        body = [[model, options.suspect, how, *gap] for (model, how), gap in found.excess.items()]
        result["against_baseline"] = Table(columns, body)
    if found.restored:
        columns = ["model", "loss", "loss_restored", "change", "low", "high"]
        body = [[name, found.loss[name].mean, one[0].mean, *one[1]] for name, one in found.restored.items()]
        result["restored"] = Table(columns, body)
    if found.impact:
        columns = ["model", "block", "impact", "low", "high"]
        result["lime"] = Table(columns, [[*key, *one] for key, one in found.impact_by_block.items()])
        names = [next((b for b, (s, e) in options.blocks.items() if s <= j < e), "–") for j in range(_width(found))]
        means = {name: found.impact[name].mean(axis=0).tolist() for name in models}
        body = [[j, block, *(means[name][j] for name in models)] for j, block in enumerate(names)]
        result["lime_columns"] = Table(["column", "block", *models], body, folded=True)
    return result


def _width(found: rows.Table) -> int:
    return int(next(iter(found.impact.values())).shape[1])


def _interventions(found: rows.Table) -> Table:
    columns = ["model", "block", "intervention", "loss", "change", "change_low", "change_high"]
    body = [
        [one.model, one.block, one.how, found.loss[one.model].mean, *one.change, *one.moved] for one in found.effects
    ]
    return Table([*columns, "moved", "moved_low", "moved_high"], body)


def of_images(found: regions.Pictures) -> dict[str, Table]:
    """Every patch, and the region."""
    body: list[list[Any]] = []
    for name, (change, moved) in found.patches.items():
        for (row, column), value in zip(_places(change.shape), change.flat, strict=True):
            body.append([name, row, column, float(value), float(moved[row, column])])
    result = {"patches": Table(["model", "row", "column", "change", "moved"], body, folded=True)}
    if found.effects:
        columns = ["model", "intervention", "change", "change_low", "change_high", "moved", "moved_low", "moved_high"]
        result["region"] = Table(columns, [[*key, *one[0], *one[1]] for key, one in found.effects.items()])
    if found.excess:
        columns = ["model", "intervention", "moved_minus_baseline", "low", "high"]
        result["against_baseline"] = Table(columns, [[*key, *gap] for key, gap in found.excess.items()])
    return result


def _places(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(row, column) for row in range(shape[0]) for column in range(shape[1])]

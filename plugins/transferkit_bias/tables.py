"""The tables of the analyzer `bias`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from transferkit.report import Table
from transferkit_bias.measure import HIGH, NEUTRAL, SLIGHT, Votes
from transferkit_bias.significance import expected_histogram
from transferkit_bias.verdict import biased_source_only
from transferkit_bias.votes import BINS, bias_histogram

if TYPE_CHECKING:
    from transferkit_bias.report import Findings

LISTED = 20
BEFORE = ("class", "name", "images")
AFTER = ("index", "p_value", "significant", "corrected_index", "p_adjusted", "p_uniform", "confidence", "state")


def tables(found: Findings) -> dict[str, Table]:
    """Groups and votes per model, the list of biased source-only classes, and every class."""
    result = {"groups": groups(found), "votes": votes(found)}
    if len(found.target.targets) == 2:
        result["paper_groups"] = paper_groups(found)
    if found.known is not None:
        result["biased_source_only"] = biased(found)
    return {**result, "bias": everything(found)}


def models(found: Findings) -> dict[str, Votes]:
    """The models that were measured."""
    return {"target": found.target} | ({} if found.baseline is None else {"baseline": found.baseline})


def groups(found: Findings) -> Table:
    """How many source classes are neutral, slightly and highly biased, and how many would be by chance."""
    rows = []
    for name, part in models(found).items():
        sizes = [int((part.group == group).sum()) for group in (HIGH, SLIGHT, NEUTRAL)]
        high = float(part.expected[HIGH] * (part.images > 0).sum())
        certain = int(((part.group == HIGH) & part.tested).sum())
        rows.append([name, *sizes, high, certain, int(part.tested.sum()), int(part.significant.sum())])
        rows[-1] += [part.overdispersion, *part.by_chance]
    columns = ["model", "high", "slight", "neutral", "high_by_chance", "high_certain", "tested", "significant"]
    return Table([*columns, "overdispersion", "chance_low", "chance_high"], rows)


def votes(found: Findings) -> Table:
    """The share of all source images that each model answers with each target class."""
    names = target_columns(found.target.targets, {"model", "images"})
    rows = [[name, int(part.images.sum()), *part.share.tolist()] for name, part in models(found).items()]
    return Table(["model", "images", *names], rows, folded=len(names) > 12)


def paper_groups(found: Findings) -> Table:
    """Table 2 of paper 001, for two target classes: source classes by their votes for the first one."""
    first, second = found.target.targets
    labels = [f"high {second} bias", f"slight {second} bias", "neutral", f"slight {first} bias", f"high {first} bias"]
    columns: dict[str, list[float]] = {}
    for name, part in models(found).items():
        count, total = torch.from_numpy(part.counts[:, 0]), torch.from_numpy(part.images)
        columns[name] = bias_histogram(count, total).tolist()
        columns[f"{name}_by_chance"] = expected_histogram(part.images, float(part.share[0])).tolist()
    rows = [
        [name, label, *(values[i] for values in columns.values())]
        for i, (name, label) in enumerate(zip(BINS, labels, strict=True))
    ]
    return Table([f"votes for {first}", "group", *columns], rows)


def biased(found: Findings) -> Table:
    """Highly biased although source-only: the least explicable by chance first."""
    assert found.known is not None
    target, baseline, rows = found.target, found.baseline, []
    for c in biased_source_only(found)[:LISTED].tolist():
        favoured = int(target.favoured[c])
        row = [c, found.names[c], int(target.images[c]), target.targets[favoured], float(target.shares[c, favoured])]
        row += [float(target.share[favoured]), float(target.corrected[c]), float(target.p_value[c])]
        row += [_significant(target, c), float(target.confidence[c]), found.known.state[c]]
        rows.append(row if baseline is None else [*row, float(baseline.shares[c, favoured])])
    columns = ["class", "name", "images", "towards", "share", "share_of_all", "corrected_index", "p_value"]
    columns += ["significant", "confidence", "state"]
    return Table(columns if baseline is None else [*columns, "baseline_share"], rows)


def everything(found: Findings) -> Table:
    """Every source class; nulls where there are no images."""
    target, states = found.target, found.known.state if found.known is not None else None
    rows = []
    for c, name in enumerate(found.names):
        row = [c, name, int(target.images[c]), *target.shares[c].tolist(), float(target.index[c])]
        row += [float(target.p_value[c]), _significant(target, c)]
        row += [float(each[c]) for each in (target.corrected, target.p_adjusted, target.p_uniform, target.confidence)]
        rows.append([*row, None if states is None else states[c]])
    return Table([*BEFORE, *target_columns(target.targets, {*BEFORE, *AFTER}), *AFTER], rows, folded=True)


def _significant(part: Votes, c: int) -> bool | None:
    """None for a class that has too few images to be tested."""
    return bool(part.significant[c]) if part.tested[c] else None


def target_columns(names: Sequence[str], reserved: set[str]) -> list[str]:
    """One unique column name per target class: "(target)" is added where another column has the name."""
    found: list[str] = []
    for name in names:
        column = name
        while column in reserved or column in found:
            column = f"{column} (target)"
        found.append(column)
    return found

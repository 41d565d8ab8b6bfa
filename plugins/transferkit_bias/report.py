"""What `bias` says of what it found: metrics and tables here, sentences and pictures next door."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import torch

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table
from transferkit.statistics import Estimate
from transferkit_bias.measure import HIGH, NEUTRAL, SLIGHT, Findings, measure
from transferkit_bias.options import Options
from transferkit_bias.pictures import draw
from transferkit_bias.significance import expected_histogram
from transferkit_bias.verdict import notes, verdict
from transferkit_bias.votes import BINS, bias_histogram

LISTED = 20
FIRST = ("class", "name", "images")


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Bias.analyze` returns."""
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
    target, baseline = found.target, found.baseline
    with_images = target.group >= 0
    both = found.comparison
    only = certain = lingering = math.nan
    if found.known is not None and with_images.any():
        remembered = found.high_among(found.known.lingering)
        only, lingering = float(len(found.biased_source_only)), float(len(remembered))
        certain = float(target.tested[remembered].sum())
    return {
        "high": target.part(HIGH),
        "slight": target.part(SLIGHT),
        "neutral": target.part(NEUTRAL),
        "high_expected": target.expected[HIGH],
        "high_certain": target.high_certain,
        "high_certain_expected": target.expected_certain[HIGH],
        "high_certain_baseline": baseline.high_certain if baseline else Estimate(math.nan),
        "high_and_source_only": only / max(int(with_images.sum()), 1),
        "high_and_source_only_classes": only,
        "lingering_high_bias": lingering,
        "lingering_high_bias_certain": certain,
        "significant": target.differing,
        "intraclass_correlation": both.alike,
        "intraclass_correlation_baseline": both.alike_baseline,
        "intraclass_difference": both.difference,
        "bias_r_baseline": both.r,
        "bias_r_ceiling": both.ceiling,
        "overdispersion": target.overdispersion,
        "prior_index": target.prior_index,
        "high_baseline": baseline.part(HIGH) if baseline else math.nan,
        "slight_baseline": baseline.part(SLIGHT) if baseline else math.nan,
        "neutral_baseline": baseline.part(NEUTRAL) if baseline else math.nan,
        "significant_baseline": baseline.differing if baseline else math.nan,
        "overdispersion_baseline": baseline.overdispersion if baseline else math.nan,
    }


def tables(found: Findings) -> dict[str, Table]:
    """Groups and votes per model, the list of biased source-only classes, and every class."""
    made = {"groups": _groups(found)}
    names = target_columns(found.target.targets, ("model", "images"))
    votes = [
        {"model": name, "images": int(part.images.sum()), **dict(zip(names, part.share.tolist(), strict=True))}
        for name, part in found.models.items()
    ]
    made["votes"] = Table.of(votes, folded=len(names) > 12)
    if len(found.target.targets) == 2:
        made["paper_groups"] = _paper_groups(found)
    if found.known is not None:
        rows = [_biased(found, c) for c in found.biased_source_only[:LISTED].tolist()]
        made["biased_source_only"] = Table.of(rows, columns=list(_biased(found, 0)))
    facts = [_facts(found, c) for c in range(len(found.names))]
    names = target_columns(found.target.targets, facts[0])
    shares = [dict(zip(names, row, strict=True)) for row in found.target.shares.tolist()]
    every = [{key: row[key] for key in FIRST} | part | row for part, row in zip(shares, facts, strict=True)]
    if found.baseline is not None:
        theirs = target_columns([f"baseline_{name}" for name in found.target.targets], every[0])
        for row, part in zip(every, found.baseline.shares.tolist(), strict=True):
            row |= dict(zip(theirs, part, strict=True))
    return {**made, "bias": Table.of(every, folded=True)}


def _groups(found: Findings) -> Table:
    """How many source classes are neutral, slightly and highly biased, and how many would be by chance."""
    alike = {"target": found.comparison.alike, "baseline": found.comparison.alike_baseline}
    return Table.of(
        [
            {
                "model": name,
                "high": int((part.group == HIGH).sum()),
                "slight": int((part.group == SLIGHT).sum()),
                "neutral": int((part.group == NEUTRAL).sum()),
                "high_by_chance": part.expected[HIGH].value * part.expected[HIGH].n,
                "high_certain": int(((part.group == HIGH) & part.tested).sum()),
                "high_certain_by_chance": part.expected_certain[HIGH].value * part.expected_certain[HIGH].n,
                "tested": int(part.tested.sum()),
                "significant": int(part.significant.sum()),
                **alike[name].columns("intraclass_correlation", "intraclass_low", "intraclass_high"),
                "overdispersion": part.overdispersion,
                "chance_low": part.by_chance[0],
                "chance_high": part.by_chance[1],
            }
            for name, part in found.models.items()
        ]
    )


def _paper_groups(found: Findings) -> Table:
    """Table 2 of paper 001, for two target classes: source classes by their votes for the first one."""
    first, second = found.target.targets
    labels = [f"high {second} bias", f"slight {second} bias", "neutral", f"slight {first} bias", f"high {first} bias"]
    columns: dict[str, list[Any]] = {f"votes for {first}": list(BINS), "group": labels}
    for name, part in found.models.items():
        counts, total = torch.from_numpy(part.counts[:, 0]), torch.from_numpy(part.images)
        columns[name] = bias_histogram(counts, total).tolist()
        columns[f"{name}_by_chance"] = expected_histogram(part.images, float(part.share[0])).tolist()
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def _biased(found: Findings, c: int) -> dict[str, Any]:
    favoured, facts = int(found.target.favoured[c]), _facts(found, c)
    row = {
        **{key: facts[key] for key in FIRST},
        "towards": found.target.targets[favoured],
        "share": float(found.target.shares[c, favoured]),
        "share_of_all": float(found.target.share[favoured]),
        **{key: facts[key] for key in ("corrected_index", "p_value", "significant", "confidence", "state")},
    }
    return row if found.baseline is None else row | {"baseline_share": float(found.baseline.shares[c, favoured])}


def _facts(found: Findings, c: int) -> dict[str, Any]:
    """All about one source class but its votes; no `significant` where it has too few images to be tested."""
    target = found.target
    return {
        "class": c,
        "name": found.names[c],
        "images": int(target.images[c]),
        "index": float(target.index[c]),
        "p_value": float(target.p_value[c]),
        "significant": bool(target.significant[c]) if target.tested[c] else None,
        "corrected_index": float(target.corrected[c]),
        "p_adjusted": float(target.p_adjusted[c]),
        "p_uniform": float(target.p_uniform[c]),
        "confidence": float(target.confidence[c]),
        "state": None if found.known is None else found.known.state[c],
    }


def target_columns(names: Sequence[str], reserved: Collection[str]) -> list[str]:
    """One unique column name per target class: "(target)" is added where another column has the name."""
    found: list[str] = []
    for name in names:
        column = name
        while column in reserved or column in found:
            column = f"{column} (target)"
        found.append(column)
    return found

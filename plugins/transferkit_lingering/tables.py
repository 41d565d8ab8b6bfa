"""The tables of the analyzer `lingering`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.report import Table
from transferkit_lingering.memory import Evidence, Memories, image_threshold

if TYPE_CHECKING:
    from transferkit_lingering.analyzer import Lingering
    from transferkit_lingering.ranking import Ranking

HIGHLIGHTS = 15


def highlights(found: Memories, ranked: Ranking) -> Table:
    """The best remembered source-only classes: those with enough images first."""
    chosen = [*ranked.certain.tolist(), *ranked.others.tolist()][:HIGHLIGHTS]
    rows = [
        [
            c,
            found.names[c],
            int(found.images[c]),
            int(found.prevalence[c]),
            float(ranked.relative[c]),
            *ranked.relative_interval[:, c].tolist(),
            float(found.mean_probability[c]),
            float(found.source_probability[c]),
            found.state[c],
        ]
        for c in chosen
    ]
    columns = ["class", "name", "images", "prevalence", "relative_retention", "relative_low", "relative_high"]
    return Table([*columns, "mean_probability", "source_probability", "state"], rows)


def source_only_by_k(evidence: Evidence, options: Lingering, found: Memories) -> Table:
    """How many classes are source-only at each k, from the one pass."""
    v_lo = image_threshold(options.v_lo, evidence.n_target)
    sizes = [int((row <= v_lo).sum()) for row in evidence.prevalence_by_k]
    sizes += [sizes[-1]] * (max(options.k, options.top_max) - len(sizes))  # k beyond the number of classes
    rows = [[k, size, size / len(found.names)] for k, size in enumerate(sizes, start=1)]
    return Table(["k", "source_only", "share"], rows)


def everything(found: Memories, ranked: Ranking) -> Table:
    """Every source class, whatever its state."""
    rows = [
        [
            c,
            name,
            int(found.prevalence[c]),
            int(found.images[c]),
            float(found.mean_probability[c]),
            float(ranked.relative[c]),
            found.state[c],
            int(found.prevalence[c]) / found.n_target,
            *ranked.mean_interval[:, c].tolist(),
            float(found.source_probability[c]),
            *ranked.relative_interval[:, c].tolist(),
        ]
        for c, name in enumerate(found.names)
    ]
    promised = ["class", "name", "prevalence", "images", "mean_probability", "relative_retention", "state"]
    more = ["prevalence_share", "probability_low", "probability_high", "source_probability"]
    return Table([*promised, *more, "relative_low", "relative_high"], rows, folded=True)

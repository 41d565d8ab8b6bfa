"""What `lingering` says of what it found: metrics, tables and sentences here, pictures next door."""

from __future__ import annotations

from functools import partial
from typing import Any

from transferkit.analysis import AnalysisSession
from transferkit.report import Report, Table, count, first_name, listing, percent
from transferkit.statistics import Estimate
from transferkit_lingering.measure import Findings, measure
from transferkit_lingering.options import Options
from transferkit_lingering.pictures import draw

LISTED = 15
WHOLE = partial(percent, digits=0)
EVERYTHING, MANY = 0.8, 20  # of at least so many classes nearly all linger: the threshold tells few of them apart
HIGHLIGHTS = (
    "class", "name", "images", "prevalence", "relative_retention", "relative_low", "relative_high", "mean_probability",
    "probability_low", "probability_high", "source_probability", "state",
)  # fmt: skip


def report(session: AnalysisSession, options: Options) -> Report:
    """Everything `Lingering.analyze` returns."""
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
    known = found.memories
    return {
        "source_only": float(len(known.source_only)),
        "lingering": float(len(known.lingering)),
        "lingering_certain": float(found.count("lingering")),
        "forgotten_certain": float(found.count("source_only")),
        **{state: float(found.count(state)) for state in ("uncertain", "unknown", "shared")},
        "probability_left": found.left,
    }


def tables(found: Findings) -> dict[str, Table]:
    """The best remembered source-only classes, how many are source-only at each k, and every source class."""
    rows = [_row(found, c) for c in range(len(found.memories.names))]
    by_k = [{"k": k, "source_only": n, "share": n / len(rows)} for k, n in enumerate(found.only_by_k, start=1)]
    best = [rows[c] for c in (*found.best.tolist(), *found.others.tolist())][:LISTED]
    return {
        "highlights": Table(HIGHLIGHTS, [[row[name] for name in HIGHLIGHTS] for row in best]),
        "prevalence_by_k": Table.of(by_k),
        "lingering": Table.of(rows, folded=True),
    }


def _row(found: Findings, c: int) -> dict[str, Any]:
    """All about one source class."""
    known, relative = found.memories, found.relative[c]
    return {
        "class": c,
        "name": known.names[c],
        "prevalence": int(known.prevalence[c]),
        "images": int(known.images[c]),
        "mean_probability": float(known.mean_probability[c]),
        "relative_retention": relative.value,
        "state": known.state[c],
        "prevalence_share": int(known.prevalence[c]) / known.n_target,
        "probability_low": float(known.probability_low[c]),
        "probability_high": float(known.probability_high[c]),
        "source_probability": float(known.source_probability[c]),
        "relative_low": relative.low,
        "relative_high": relative.high,
    }


def verdict(found: Findings) -> str:
    """How many classes are source-only, how many of these are remembered, and which best."""
    known = found.memories
    total, only, asked = len(known.names), len(known.source_only), len(found.with_images)
    if not only:
        return f"Every one of the {total} source classes shows in the target images, so no memory of them can linger."
    text = f"{only} of the {total} source classes hardly show in the target images."
    if not asked:
        return f"{text} None of these has a source image, so what is left of them is unknown."
    sure, gone = found.count("lingering"), found.count("source_only")
    text += f" The fine-tuned model still recognises {len(known.lingering)} of the {asked} that have source images"
    text += f" by their mean probability (above {known.p_lo:.3g})"
    if not len(found.measured):
        return f"{text}. None of them has {known.min_images} images, so none can be named with certainty."
    text += (
        f"; for certain, by the 95 % interval, {sure} linger and {gone} are forgotten"
        f"{', of the others neither is known' if sure + gone < asked else ''}."
    )
    if found.left.known:
        text += f" Of {len(found.measured)} source-only classes with at least {known.min_images} images"
        text += f" {WHOLE(found.left.value)} of the source model's probability is left{found.left.between(WHOLE)}."
    best = [
        f"{first_name(known.names[c])} ({_at_least(found.relative[c].low)}, {count(found.relative[c].n, 'image')})"
        for c in found.best[:3].tolist()
        if known.state[c] == "lingering"
    ]
    return f"{text} The highest lower bounds relative to the source model: {listing(best)}." if best else text


def _at_least(low: float) -> str:
    return "all of it" if round(low, 2) >= 1 else f"{WHOLE(low)} or more"


def notes(session: AnalysisSession, options: Options, found: Findings) -> list[str]:
    """Counts, thresholds, chance levels and seeds."""
    known = found.memories
    total, asked = len(known.names), len(found.with_images)
    best = "source class" if known.k == 1 else f"{known.k} source classes"
    lines = [
        f"A target image shows the {best} that the source model finds best; source-only are classes shown by at most "
        f"{known.v_lo} of {count(known.n_target, 'target image')}.",
        f"{count(int(known.images.sum()), 'source image')} of {int((known.images > 0).sum())} of {total} source classes"
        f"; chance level of a mean probability: {1 / total:.3g}.",
        f"Threshold {known.p_lo:.3g}: a class lingers for certain where the whole 95 % interval of its mean "
        "probability lies above that, is forgotten where no part of it does, and is uncertain between, or with fewer "
        f"than {known.min_images} source images. The count by equation 3 asks for the mean alone. Both depend "
        "on how many images a class has: with more, fewer are uncertain.",
        "Intervals: of each class over its images, with the spread within other classes borrowed (Wilson's, moderated "
        f"variance), not corrected for there being many classes; of probability_left over {len(found.measured)} "
        "classes (jackknife). That is a ratio of summed mean probabilities over source-only classes with at least "
        f"{known.min_images} images, lingering or not; relative_retention of the analysis retention is of right "
        "answers, over all classes.",
    ]
    if found.left.value > 0:
        below = known.source_probability[found.measured].sum()
        chance = len(found.measured) / total / below
        lines.append(f"Chance level of probability_left: {chance:.3g}, a mean probability of one in {total}.")
    if asked >= MANY and len(known.lingering) >= EVERYTHING * asked:
        lines.append(
            f"A threshold of {known.p_lo:.3g} lets {len(known.lingering)} of {asked} source-only classes count as "
            "lingering: it hardly tells them apart. Go by the lower end of what is left (table highlights)."
        )
    if session.source_head_is_probe:
        lines.append("The source model has no classifier; a ridge regression on its features stands in for it.")
    return lines

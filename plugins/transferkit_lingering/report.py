"""What the analyzer `lingering` says: metrics, verdict, small print, tables and pictures put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from transferkit.report import Report
from transferkit_lingering import pictures, tables
from transferkit_lingering.intervals import mean_intervals, ratio_intervals
from transferkit_lingering.memory import Evidence, Memories, gather, judge
from transferkit_lingering.ranking import Ranking, ranking
from transferkit_lingering.wording import count, first_name, listing

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_lingering.analyzer import Lingering

EVERYTHING, MANY = 0.8, 20  # of at least so many classes nearly all linger: the threshold tells few of them apart


def report(session: AnalysisSession, options: Lingering) -> Report:
    """Everything `Lingering.analyze` returns."""
    evidence = gather(session, options)
    found = judge(evidence, options)
    ranked = ranking(found, *_intervals(session, evidence, options))
    drawn = pictures.draw(session, found, ranked)
    return Report(
        metrics=metrics(found),
        tables={
            "highlights": tables.highlights(found, ranked),
            "prevalence_by_k": tables.source_only_by_k(evidence, options, found),
            "lingering": tables.everything(found, ranked),
        },
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(found, ranked),
        notes=notes(session, found, options),
        gaps=gaps(found),
    )


def _intervals(session: AnalysisSession, evidence: Evidence, options: Lingering) -> tuple[np.ndarray, np.ndarray]:
    """The intervals of mean probability and of relative retention, each (2, K)."""
    labels, size = evidence.labels.numpy(), len(evidence.names)
    swap, source = evidence.probability.numpy(), evidence.source_probability.numpy()

    def rng_of(images: int) -> np.random.Generator:
        return session.rng("lingering", "bootstrap", images)

    means = mean_intervals(swap, labels, size, options.bootstrap, rng_of)
    ratios = ratio_intervals(swap, source, labels, size, options.bootstrap, rng_of)
    return np.stack(means), np.stack(ratios)


def metrics(found: Memories) -> dict[str, float]:
    """Every metric the analyzer declares."""
    certain = found.images[found.lingering] >= found.min_images
    ratios = found.relative_retention[found.lingering]
    ratios = ratios[np.isfinite(ratios)]
    return {
        "source_only": float(len(found.source_only)),
        "lingering": float(len(found.lingering)),
        "lingering_certain": float(certain.sum()),
        "unknown": float(found.state.count("unknown")),
        "uncertain": float(found.state.count("uncertain")),
        "shared": float(found.state.count("shared")),
        "relative_retention": float(ratios.mean()) if len(ratios) else float("nan"),
    }


def verdict(found: Memories, ranked: Ranking) -> str:
    """Up to three sentences for a reader who knows no paper."""
    total, only, known = len(found.names), len(found.source_only), _known(found)
    if not only:
        return f"Every one of the {total} source classes shows in the target images, so no memory of them can linger."
    text = f"{only} of the {total} source classes hardly show in the target images."
    if not known:
        return f"{text} None of these has a source image, so what is left of them is unknown."
    text += f" The fine-tuned model still recognises {len(found.lingering)} of the {known} that have source images"
    text += f" (mean probability above {found.p_lo:.3g})."
    if not len(ranked.certain):
        return f"{text} None of them has {found.min_images} images, so none can be named with certainty."
    best = [
        f"{first_name(found.names[c])} ({100 * ranked.relative[c]:.0f} %, {count(int(found.images[c]), 'image')})"
        for c in ranked.certain[:3].tolist()
    ]
    few = f"among the {len(ranked.certain)} of them with at least {found.min_images} images"
    return f"{text} Best remembered relative to the source model, {few}: {listing(best)}."


def _best(k: int) -> str:
    classes = "source class" if k == 1 else f"{k} source classes"
    return f"the {classes} that the source model finds best"


def _known(found: Memories) -> int:
    return int((found.images[found.source_only] > 0).sum())


def notes(session: AnalysisSession, found: Memories, options: Lingering) -> list[str]:
    """Counts, thresholds, chance levels and seeds."""
    total, known = len(found.names), _known(found)
    lines = [
        f"A target image shows {_best(found.k)}; source-only are classes shown by at most {found.v_lo} of "
        f"{count(found.n_target, 'target image')}.",
        f"{count(int(found.images.sum()), 'source image')} of {int((found.images > 0).sum())} of {total} source classes"
        f"; chance level of a mean probability: {1 / total:.3g}.",
        f"Classes with fewer than {found.min_images} source images are uncertain; the count by equation 3 has "
        "them in it.",
    ]
    if options.bootstrap:
        lines.append(
            f"Intervals: 95 %, {options.bootstrap} bootstrap resamples of each class's images, seed {session.seed}."
        )
    if known >= MANY and len(found.lingering) >= EVERYTHING * known:
        lines.append(
            f"A threshold of {found.p_lo:.3g} lets {len(found.lingering)} of {known} source-only classes count as "
            "lingering: it hardly tells them apart. Go by the relative retention."
        )
    if session.source_head_is_probe:
        lines.append("The source model has no classifier; a ridge regression on its features stands in for it.")
    return lines


def gaps(found: Memories) -> list[str]:
    """What the images at hand cannot show."""
    unknown = found.state.count("unknown")
    if not unknown:
        return []
    return [
        f"{unknown} of {len(found.source_only)} source-only classes have no source image: whether they linger is "
        "unknown, not ruled out."
    ]

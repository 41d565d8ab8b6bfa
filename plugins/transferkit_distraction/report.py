"""What the analyzer `distraction` returns: numbers, tables, pictures and words put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.analysis import AnalysisSession
from transferkit.report import Report
from transferkit_distraction.drawing import figures
from transferkit_distraction.notes import notes
from transferkit_distraction.study import measure
from transferkit_distraction.summary import summarise
from transferkit_distraction.tables import tables
from transferkit_distraction.verdict import gaps, verdict

if TYPE_CHECKING:
    from transferkit_distraction.analyzer import Distraction


def report(session: AnalysisSession, options: Distraction) -> Report:
    """The whole analysis. Raises InputError, with the reason, where Eq. 4 cannot be computed at all."""
    study = measure(session, options)
    summary = summarise(study)
    captions = figures(study, summary)
    if options.write_composites:
        study.composites.write(session.out / "composites")
    return Report(
        metrics=summary.metrics,
        tables=tables(study, summary),
        figures=list(captions),
        captions=captions,
        verdict=verdict(summary),
        notes=notes(study, summary),
        gaps=[*study.gaps, *gaps(study, summary)],
    )

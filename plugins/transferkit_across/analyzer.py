"""The analyzer `across`: what other runs, or earlier analyses of this one, found, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.errors import InputError
from transferkit.report import Headline, Metric
from transferkit_across.headlines import HEADLINES, WORDS
from transferkit_across.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


@dataclass
class Across(Options):
    """Compare models by what was found about them: classes in pairs of models, numbers over size and architecture."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("runs", "models", "count", answers="How many models are compared?"),
        Metric("pairs", "pairs of models", "count", answers="In how many pairs of them are classes compared?"),
        Metric("recall_r", "r of recall", answers="Do two models keep the same source classes? Mean r over pairs."),
        Metric("bias_r", "r of bias", answers="Are the same source classes biased in two models? Mean r over pairs."),
        Metric("r", "r of what was asked for", answers="How alike are two models in it? Mean r over pairs."),
        Metric(
            "retention_change_equal_epochs", "change of retention at equal epochs", "points", interval=True,
            answers="How much more is kept with the largest training set than with the smallest?",
        ),
        Metric(
            "retention_change_equal_steps", "change of retention at equal steps", "points", interval=True,
            answers="The same with as many steps?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def __post_init__(self) -> None:
        from transferkit_across.entries import split_name

        for run in self.runs:
            folder, _ = split_name(str(run))
            if not folder.is_dir():
                raise InputError(f"there is no folder {folder}; give folders of runs or audits")

    def analyze(self, session: AnalysisSession) -> Report:
        """Figures 5 and 6 of paper 001 and 7 and 8 of paper 000, from reports that are there already."""
        from transferkit_across.entries import read_entries
        from transferkit_across.report import report

        here = session.out.parent.parent
        given = [str(run) for run in self.runs] + [f"{here}:{name}" for name in self.analyses] or [str(here)]
        return report(read_entries(given), self, session.picture)

"""The analyzer `spurious`: does a model answer to inputs that its task does not need?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_spurious.headlines import HEADLINES, WORDS
from transferkit_spurious.options import INTERVENTIONS, Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


def _about(key: str, name: str, how: str) -> Metric:
    return Metric(f"{key}_{how}", name.format(how), more="worse", interval=True)


@dataclass
class Spurious(Options):
    """Change some inputs and see what that does to loss and answer; ask a local linear model which inputs count."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "loss", "loss", more="worse", interval=True,
            answers="How far off is the target model on unchanged inputs?",
        ),
        Metric(
            "loss_restored", "loss with restored columns", more="worse", interval=True,
            answers="How far off is it where the suspect columns have their other values?",
        ),
        *(_about("change", "change of the loss under {}", how) for how in INTERVENTIONS),
        *(_about("moved", "move of the answer under {}", how) for how in INTERVENTIONS),
        *(_about("excess", "move beyond the baseline's under {}", how) for how in INTERVENTIONS),
        Metric(
            "lime_suspect", "impact of a suspect column", more="worse", interval=True,
            answers="How much does the answer hang on a suspect column, on average?",
        ),
        Metric(
            "lime_floor", "impact of a suspect column by noise alone", interval=True,
            answers="How large would that be if the answer did not hang on it at all?",
        ),
        Metric(
            "lime_suspect_share", "share of the impact", "share", more="worse", interval=True,
            answers="Which part of the impact of all columns is that of the suspect ones?",
        ),
        Metric(
            "lime_suspect_excess", "impact beyond the baseline's", more="worse", interval=True,
            answers="How much more does the answer hang on a suspect column than the baseline's?",
        ),
        Metric(
            "patch_change_max", "change of the loss by the patch that matters most", more="worse", interval=True,
            answers="What does hiding the patch that one half of the images chose do to the loss on the other?",
        ),
        Metric(
            "patch_moved_max", "move by the patch that matters most", "points", more="worse", interval=True,
            answers="How far does hiding that patch move the label's probability, on the other half?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS
    takes_tables: ClassVar[bool] = True

    def analyze(self, session: AnalysisSession) -> Report:
        """Interventions on column blocks and LIME (paper 004, section 5.1), or on regions of images."""
        from transferkit_spurious.report import report

        return report(session, self)

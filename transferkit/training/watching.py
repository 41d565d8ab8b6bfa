"""Those who look on while a stage trains: observers, whose numbers are logged, and analyses on schedule."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.contained import told
from transferkit.errors import Interrupted
from transferkit.hooks import Call
from transferkit.training.signals import Stopped

if TYPE_CHECKING:
    from transferkit.report import Report
    from transferkit.training.session import Session


@dataclass(frozen=True)
class Scheduled:
    """An analysis that looks at a copy of the model every so many epochs."""

    name: str
    every: int
    analyze: Callable[..., Report | None]  # None where its report is there already


def ask(session: Session, call: Call, offer: object) -> dict[str, Any]:
    """The numbers that an observer returns, which go to the trackers. An error in them says whose they are."""
    try:
        values = dict(call(offer) or {})
        session.log.scalars(values, session.state.step, prefix=f"{call.plugin.name}/")
    except (AttributeError, TypeError, ValueError) as error:
        if not getattr(error, "__notes__", ()):  # it was not raised inside the plugin
            error.add_note(f"in what {call.hook} of the {call.plugin} returned, which must be {{name: number}}")
        raise
    return values


def look(session: Session, analysis: Scheduled, epoch: int) -> None:
    """An analysis looks at a copy of the model. One that fails costs its report after this epoch, nothing else."""
    try:
        report = analysis.analyze(live=(session.best_model(), session.source_head), epoch=epoch)
        if report is not None:  # it was there already
            session.log.scalars(report.metrics, session.state.step, prefix=f"{analysis.name}/")
    except (Interrupted, KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:
        session.warn(f"the analysis {analysis.name} failed while the stage trained: {told(error)}")
        session.display.record(f"after epoch {epoch}: {''.join(traceback.format_exception(error))}")
        session.state.failed_analyses.setdefault(analysis.name, []).append(epoch)

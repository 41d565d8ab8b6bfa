"""Analyzers one after the other: each gets a session, its report is written, and a failure costs only itself."""

from __future__ import annotations

import math
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.analysis.run_view import RunView
from transferkit.analysis.session import AnalysisSession, Offer
from transferkit.analysis.workbench import Workbench
from transferkit.data.randomness import seeded
from transferkit.errors import InputError, Interrupted
from transferkit.hooks import Plugin, RunPlugins
from transferkit.memory import enough_memory
from transferkit.report import Report


def perform(
    workbench: Workbench,
    plugin: Plugin,
    out: Path,
    *,
    parameters: Mapping[str, Any],
    peers: Mapping[str, Any],
    run: RunView | None = None,
    step: int | None = None,
) -> Report:
    """Run one analyzer and write its folder; `run` is the run it belongs to, `step` its place in TensorBoard.

    All global random generators are left as they were.
    What it cannot do with these models and images (InputError) becomes a report that says so, with every
    metric it declares as NaN. Any other exception leaves nothing behind and propagates.
    """
    out.mkdir(parents=True, exist_ok=True)
    session = AnalysisSession(workbench, out, plugin.name, peers, run)
    try:
        with (
            workbench.guarded(plugin.name),
            seeded(workbench.seed, "analysis", plugin.name),
            enough_memory(lambda: _short_of_memory(plugin, workbench)),
        ):
            report: Report = RunPlugins([plugin]).calls("analyze")[0](Offer(session))
    except InputError as error:
        report = gap(plugin, str(error))
        workbench.display.warn(f"{plugin.name}: {error}")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    component = plugin.component
    report.write(out, name=plugin.name, plugin=component.name, version=component.owner.version, parameters=parameters)
    _to_board(workbench, plugin.name, report, step or 0)
    return report


def _short_of_memory(plugin: Plugin, workbench: Workbench) -> str:
    other = "a device with more memory, or the CPU (device: cpu)" if workbench.device.type != "cpu" else "more memory"
    return (
        f'the analysis "{plugin.name}" ran out of memory; it needs {other}, fewer images, or smaller options. What was '
        "finished before is kept"
    )


def gap(plugin: Plugin, reason: str) -> Report:
    """The report of an analysis that could not be made."""
    declared: Sequence[str] = getattr(plugin.component.cls, "metrics", ())
    return Report(metrics=dict.fromkeys(declared, math.nan), gaps=[reason])


def perform_all(
    workbench: Workbench,
    plugins: Sequence[Plugin],
    folder: Callable[[str], Path],
    *,
    parameters: Mapping[str, Mapping[str, Any]],
    done: Callable[[str, Report], None],
) -> list[str]:
    """Every analyzer in order; `done(name, report)` after each. Returns what failed, in sentences.

    An analyzer that raises an unexpected exception is recorded with its traceback, and the others still run.
    """
    peers = {plugin.component.name: plugin.instance for plugin in plugins}
    failed = []
    for plugin in plugins:
        try:
            report = perform(
                workbench, plugin, folder(plugin.name), parameters=parameters.get(plugin.name, {}), peers=peers
            )
        except (Interrupted, KeyboardInterrupt, SystemExit):
            raise
        except Exception as error:
            failed.append(f"{plugin} failed: {type(error).__name__}: {error}")
            workbench.display.warn(failed[-1])
            workbench.display.record(traceback.format_exc())
            continue
        done(plugin.name, report)
    return failed


def _to_board(workbench: Workbench, name: str, report: Report, step: int) -> None:
    if workbench.board is None:
        return
    for metric, value in report.metrics.items():
        if math.isfinite(float(value)):
            workbench.board.add_scalar(f"analyses/{name}/{metric}", float(value), step)
    if report.verdict:
        workbench.board.add_text(f"analyses/{name}", report.verdict, step)

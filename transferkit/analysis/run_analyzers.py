"""Analyzers one after the other: each gets a session, its report is written, and a failure costs only itself."""

from __future__ import annotations

import json
import math
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from transferkit.analysis.session import AnalysisSession, AnalyzeOffer, RunView
from transferkit.analysis.workbench import Workbench
from transferkit.data.randomness import seeded
from transferkit.errors import InputError, Interrupted
from transferkit.plugins.hooks import Plugin, RunPlugins
from transferkit.report import Report, finite
from transferkit.system.atomic import make_folder, read_json
from transferkit.system.memory import enough_memory
from transferkit.training.progress import Display

EPOCH = "epoch-"  # folders of what an analysis found while the model trained


@dataclass(frozen=True)
class Analysis:
    """One analyzer, what it looks at, and the folder of its report.

    `run` is the run that it belongs to, `step` its place in TensorBoard.
    """

    workbench: Workbench
    plugin: Plugin
    out: Path
    parameters: Mapping[str, Any]
    peers: Mapping[str, Any]
    run: RunView | None = None
    step: int = 0

    @property
    def inputs(self) -> dict[str, str]:
        """What else a report depends on: the content of each model, and the options of the analyses beside it."""
        options = {
            name: {field.name: getattr(peer, field.name) for field in (fields(peer) if is_dataclass(peer) else ())}
            for name, peer in self.peers.items()
        }
        text = json.dumps(options, default=repr, sort_keys=True)
        found = {"analyses": blake2b(text.encode(), digest_size=16).hexdigest()}
        for role, given in self.workbench.models.items():
            with suppress(InputError):  # an analysis need not look at all of them
                found[role] = given.digest
        return found

    def finished(self) -> dict[str, Any] | None:
        """The report.json if it is there, whole, of the same plugin, options and models, and measured."""
        try:
            content: dict[str, Any] = read_json(self.out / "report.json")
            files = [*content["figures"], *(f"{table}.csv" for table in content["tables"])]
            measured = not content["gaps"] or any(value is not None for value in content["metrics"].values())
        except (InputError, KeyError, TypeError, AttributeError):
            return None
        component = self.plugin.component
        same = content.get("plugin") == component.name and content.get("version") == component.owner.version
        same = same and content.get("parameters") == json.loads(json.dumps(finite(self.parameters)))
        whole = same and measured and all((self.out / name).is_file() for name in files)
        return content if whole and content.get("inputs") == self.inputs else None


def run_analyzer(analysis: Analysis) -> Report:
    """Run one analyzer and write its folder.

    All global random generators are left as they were.
    What it cannot do with these models and images (InputError) becomes a report that says so, with every
    metric it declares as NaN. Any other exception, and a signal, leave nothing behind and propagate.
    """
    workbench, plugin, out = analysis.workbench, analysis.plugin, analysis.out
    component = plugin.component
    _clear(out)
    make_folder(out)
    session = AnalysisSession(workbench, out, plugin.name, analysis.peers, analysis.run)
    try:
        try:
            with (
                workbench.guarded(plugin.name),
                seeded(workbench.seed, "analysis", plugin.name),
                enough_memory(lambda: _short_of_memory(plugin, workbench)),
            ):
                report = RunPlugins([plugin]).calls("analyze")[0](AnalyzeOffer(session))
                report = _possible(_whole(report, plugin), plugin)
        except InputError as error:
            report = gap(plugin, str(error))
            workbench.display.warn(f"{plugin.name}: {error}")
        report.write(
            out,
            name=plugin.name,
            plugin=component.name,
            version=component.owner.version,
            parameters=analysis.parameters,
            inputs=analysis.inputs,
        )
    except BaseException:
        _clear(out)
        raise
    _to_board(workbench, plugin, report, analysis.step)
    return report


def run_analyzers(
    analyses: Iterable[tuple[Plugin, Callable[[], Analysis]]],
    display: Display,
    done: Callable[[str, Report | Mapping[str, Any]], None],
    around: Callable[[str], AbstractContextManager[object]] = lambda name: nullcontext(),
) -> dict[str, Exception]:
    """Every analyzer in order, inside `around(name)`; `done(name, report)` after it. Returns {what failed: why}.

    What each looks at is made when its turn comes, so that a model which cannot be opened costs that analysis alone.

    One whose report is there already is kept: `done` gets its content. An analyzer that raises an unexpected exception
    is recorded with its traceback, and the others still run. Raises InputError, and Interrupted.
    """
    failed: dict[str, Exception] = {}
    for plugin, make in analyses:
        name = plugin.name
        try:
            with around(name):
                one = make()
                report: Report | Mapping[str, Any] | None = one.finished()
                display.line(f"analysis {name}" + ("" if report is None else ": done already"))
                report = report or run_analyzer(one)
        except (InputError, Interrupted):
            raise
        except Exception as error:
            sentence = f"{plugin} failed: {type(error).__name__}: {error}"
            failed[sentence] = error
            display.warn(sentence)
            display.record(traceback.format_exc())
            continue
        done(name, report)
    return failed


def _short_of_memory(plugin: Plugin, workbench: Workbench) -> str:
    other = "a device with more memory, or the CPU (device: cpu)" if workbench.device.type != "cpu" else "more memory"
    return (
        f'the analysis "{plugin.name}" ran out of memory; it needs {other}, fewer images, or smaller options. What was '
        "finished before is kept"
    )


def _clear(out: Path) -> None:
    """Take away an analysis that was not finished, or another than is to come. What it saw while training stays."""
    for path in out.glob("*"):
        if path.is_dir() and path.name.startswith(EPOCH):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):  # a disk that takes no changes: what stopped the analysis is told
                path.unlink()
    with suppress(OSError):
        out.rmdir()


def gap(plugin: Plugin, reason: str) -> Report:
    """The report of an analysis that could not be made."""
    return Report(metrics=dict.fromkeys(plugin.component.declared.metric_keys, math.nan), gaps=[reason])


def _whole(report: Report, plugin: Plugin) -> Report:
    """Beside gaps, NaN for every metric that the class declares and the report leaves out."""
    missing = [key for key in plugin.component.declared.metric_keys if key not in report.metrics]
    if not missing or not report.gaps:
        return report
    return replace(report, metrics={**report.metrics, **dict.fromkeys(missing, math.nan)})


def _possible(report: Report, plugin: Plugin) -> Report:
    """Intervals end where their kind of number does, whatever the analyzer computed: those of shares at 0 and 1."""
    found = dict(report.metrics)
    for metric in plugin.component.declared.metrics:
        least, most = metric.bounds
        for key in metric.keys[1:]:
            if key in found:
                found[key] = min(max(float(report.numbers[key]), least), most)
    return replace(report, metrics=found)


def _to_board(workbench: Workbench, plugin: Plugin, report: Report, step: int) -> None:
    if workbench.board is None:
        return
    for metric, value in report.numbers.items():
        if math.isfinite(value):
            workbench.board.add_scalar(f"analyses/{plugin.name}/{metric}", value, step)
    meanings = [
        f"* `{one.key}`: {one.name}" + ("" if one.more == "neither" else f" (more is {one.more})")
        for one in plugin.component.declared.metrics
        if one.answers
    ]
    text = "\n\n".join(filter(None, [report.verdict, "\n".join(meanings)]))
    if text:
        workbench.board.add_text(f"analyses/{plugin.name}", text, step)

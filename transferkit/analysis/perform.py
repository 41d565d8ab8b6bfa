"""Analyzers one after the other: each gets a session, its report is written, and a failure costs only itself."""

from __future__ import annotations

import json
import math
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from transferkit.analysis.run_view import RunView
from transferkit.analysis.session import AnalysisSession, Offer
from transferkit.analysis.workbench import Workbench
from transferkit.atomic import read_json
from transferkit.data.randomness import seeded
from transferkit.errors import InputError, Interrupted
from transferkit.hooks import Plugin, RunPlugins
from transferkit.memory import enough_memory
from transferkit.report import Report, finite

EPOCH = "epoch-"  # folders of what an analysis found while the model trained


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
    metric it declares as NaN. Any other exception, and a signal, leave nothing behind and propagate.
    """
    _clear(out)
    out.mkdir(parents=True, exist_ok=True)
    session = AnalysisSession(workbench, out, plugin.name, peers, run)
    try:
        with (
            workbench.guarded(plugin.name),
            seeded(workbench.seed, "analysis", plugin.name),
            enough_memory(lambda: _short_of_memory(plugin, workbench)),
        ):
            report: Report = RunPlugins([plugin]).calls("analyze")[0](Offer(session))
        _write(report, out, workbench, plugin, parameters, peers)
    except InputError as error:
        report = gap(plugin, str(error))
        workbench.display.warn(f"{plugin.name}: {error}")
        _write(report, out, workbench, plugin, parameters, peers)
    except BaseException:
        _clear(out)
        raise
    _to_board(workbench, plugin.name, report, step or 0)
    return report


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


def _write(
    report: Report,
    out: Path,
    workbench: Workbench,
    plugin: Plugin,
    parameters: Mapping[str, Any],
    peers: Mapping[str, Any],
) -> None:
    component = plugin.component
    report.write(
        out,
        name=plugin.name,
        plugin=component.name,
        version=component.owner.version,
        parameters=parameters,
        inputs=_inputs(workbench, peers),
    )


def _inputs(workbench: Workbench, peers: Mapping[str, Any]) -> dict[str, str]:
    """What else a report depends on: the content of each model, and the options of the analyses beside it."""
    fields = {name: getattr(type(peer), "__dataclass_fields__", ()) for name, peer in peers.items()}
    options = {name: {field: getattr(peers[name], field) for field in known} for name, known in fields.items()}
    text = json.dumps(options, default=repr, sort_keys=True)
    found = {"analyses": blake2b(text.encode(), digest_size=16).hexdigest()}
    for role, given in workbench.models.items():
        with suppress(InputError):  # an analysis need not look at all of them
            found[role] = given.digest
    return found


def finished(
    out: Path, workbench: Workbench, plugin: Plugin, parameters: Mapping[str, Any], peers: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The report.json of this analysis if it is there, whole, of the same plugin, options and models, and measured."""
    try:
        content: dict[str, Any] = read_json(out / "report.json")
        files = [*content["figures"], *(f"{table}.csv" for table in content["tables"])]
        measured = not content["gaps"] or any(value is not None for value in content["metrics"].values())
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    component = plugin.component
    same = content.get("plugin") == component.name and content.get("version") == component.owner.version
    same = same and content.get("parameters") == json.loads(json.dumps(finite(parameters)))
    whole = same and measured and all((out / name).is_file() for name in files)
    return content if whole and content.get("inputs") == _inputs(workbench, peers) else None


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
    begin: Callable[[str], None] = lambda name: None,
    done: Callable[[str, Report], None],
    kept: Callable[[str, Mapping[str, Any]], None] = lambda name, content: None,
) -> list[str]:
    """Every analyzer in order: `begin(name)`, and `done(name, report)` after it. Returns what failed, in sentences.

    One whose report.json is in its folder already goes to `kept(name, content)` instead.

    An analyzer that raises an unexpected exception is recorded with its traceback, and the others still run.
    """
    peers = {plugin.component.name: plugin.instance for plugin in plugins}
    failed = []
    for plugin in plugins:
        out, options = folder(plugin.name), parameters.get(plugin.name, {})
        try:
            before = finished(out, workbench, plugin, options, peers)
            if before is not None:
                kept(plugin.name, before)
                continue
            begin(plugin.name)
            report = perform(workbench, plugin, out, parameters=options, peers=peers)
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

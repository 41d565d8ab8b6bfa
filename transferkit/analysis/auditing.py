"""An audit from start to end: inputs, checks, one analyzer after the other, conditions, report."""

from __future__ import annotations

import math
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import torch
from torch.utils.tensorboard import SummaryWriter

from transferkit import __version__
from transferkit.analysis.audit_inputs import Inputs, Wanted, collect
from transferkit.analysis.audit_record import Arguments, write_record
from transferkit.analysis.chosen import Chosen
from transferkit.analysis.fail_on import Condition, Finding
from transferkit.analysis.perform import perform_all
from transferkit.analysis.sanity import check
from transferkit.analysis.target_classes import agree_on_classes
from transferkit.analysis.workbench import Workbench
from transferkit.data.images import BadImage
from transferkit.errors import InputError, Interrupted
from transferkit.folder import RunFolder
from transferkit.report import Report
from transferkit.runner import make_report
from transferkit.training.devices import available_device
from transferkit.training.progress import Display
from transferkit.training.signals import Stopped, StopSignal


class Auditing:
    """One audit in its folder, and what it has found so far."""

    def __init__(
        self,
        folder: RunFolder,
        arguments: Arguments,
        chosen: Sequence[Chosen],
        conditions: Sequence[Condition],
        *,
        stop: StopSignal,
        quiet: bool,
    ) -> None:
        self.folder, self.arguments, self.chosen, self.conditions = folder, arguments, chosen, conditions
        self.stop = stop
        self.device = available_device(arguments.device)
        self.display = Display(folder.path / "run.log", quiet=quiet)
        self.reports: dict[str, Report] = {}
        self.findings: list[Finding] = []
        self.errors: list[str] = []
        self.began = time.monotonic()
        self.result: dict[str, Any] = {
            "status": "running", "run_dir": str(folder.path), "seed": arguments.seed, "stages": {}, "analyses": {},
            "metrics": {}, "warnings": [], "findings": [],
        }  # fmt: skip

    def run(self, warnings: Sequence[str] = ()) -> None:
        """All of it; result.json and report.html are complete however it ends, unless the input was wrong.

        `warnings` are those that came up before. Raises InputError, Interrupted, or what nobody expected; analyzers
        that break are in `errors` instead.
        """
        with self.stop.last_words(self.folder.end):
            self._write("running")
            self._record()
            try:
                self._analyze(list(warnings))
                self.stop.check()
            except BaseException as error:
                with self.stop.held():
                    self._fail(error)
            self._judge()
            if self.errors:
                self.result["error"] = "; ".join(self.errors)
            try:
                self._end("failed" if self.errors else "done")
            except Stopped as error:
                self._write("stopped")
                raise self._stopped(error.number) from None

    def _fail(self, error: BaseException) -> NoReturn:
        """Write down why it ended, with the report of what there is, and raise it; wrong input leaves no report."""
        if isinstance(error, Stopped | KeyboardInterrupt):
            self._end("stopped")
            raise self._stopped(getattr(error, "number", signal.SIGINT)) from None
        if isinstance(error, BadImage):
            error.add_note("    here: --skip-bad-images leaves unreadable images out, and the report counts them")
        self.result["error"] = str(error) or type(error).__name__
        if isinstance(error, InputError):
            self._write("failed")
        else:
            self.display.record("".join(traceback.format_exception(error)))
            self._end("failed")
        raise error

    def _analyze(self, warnings: list[str]) -> None:
        """Open and check everything, then one analyzer after the other."""
        inputs = collect(self._wanted(), self.display)
        self._record(inputs)
        self._introduce(inputs)
        bench = self._workbench(inputs)
        warnings += agree_on_classes(bench)
        warnings += check(bench)
        for text in warnings:
            self.display.warn(text)
        self.result["warnings"] = warnings
        self._record(inputs, bench)
        self._write("running")
        bench.board = SummaryWriter(str(self.folder.path / "tb"))
        try:
            self.errors = perform_all(
                bench,
                [one.plugin for one in self.chosen],
                self.folder.analysis,
                parameters={one.plugin.name: one.parameters for one in self.chosen},
                begin=lambda name: self.display.line(f"analysis {name}"),
                done=self._done,
                kept=self._kept,
            )
        finally:
            bench.board.close()

    def _workbench(self, inputs: Inputs) -> Workbench:
        return Workbench(
            models=inputs.models,
            datasets=inputs.datasets,
            source_data=inputs.data["source"],
            target_data=inputs.data["target"],
            seed=self.arguments.seed,
            display=self.display,
            device=torch.device(self.device),
            images=inputs.images,
        )

    def _wanted(self) -> Wanted:
        given, asked = self.arguments, ("source", "baseline", "target_data", "source_data", "source_labels")
        places = {name: given.place(name) for name in asked}
        target = given.place("target") or given.target
        return Wanted(target, **places, on_bad_image=given.on_bad_image, seed=given.seed)

    def _kept(self, name: str, content: Mapping[str, Any]) -> None:
        """An analysis that was finished before the audit was stopped."""
        self.display.line(f"analysis {name}: done already")
        metrics = {metric: math.nan if value is None else value for metric, value in content["metrics"].items()}
        self._done(name, Report(metrics, verdict=content.get("verdict")))

    def _done(self, name: str, report: Report) -> None:
        self.reports[name] = report
        self.result["analyses"][name] = f"analyses/{name}/report.json"
        self.result["metrics"][name] = {metric: float(value) for metric, value in report.metrics.items()}
        self._write("running")

    def _judge(self) -> None:
        """Decide the conditions: what was not measured cannot have passed."""
        self.findings = [condition.evaluate(self.result["metrics"]) for condition in self.conditions]
        self.result["findings"] = [
            {"expression": one.expression, "values": one.values, "holds": one.holds, "unchecked": one.unchecked}
            for one in self.findings
        ]
        for finding in self.findings:
            self.display.record(f"fail-on {finding}")

    def _stopped(self, number: int) -> Interrupted:
        done = ", ".join(self.reports) or "none yet"
        error = Interrupted(f"the audit was stopped; finished analyses ({done}) are in {self.folder.path}", number)
        error.add_note(f"go on with: transferkit resume {self.folder.path}")
        return error

    def _write(self, status: str) -> None:
        self.result["status"] = status
        self.result["seconds"] = time.monotonic() - self.began
        self.folder.write_result(self.result)

    def _end(self, status: str) -> None:
        self._write(status)
        make_report(self.folder, self.display)

    def _record(self, inputs: Inputs | None = None, bench: Workbench | None = None) -> None:
        """audit.json and env.json; with inputs and bench also what was found and what it was understood as."""
        facts = {
            "name": "audit",
            "version": __version__,
            "seed": self.arguments.seed,
            "device": self.device,
            "on_bad_image": self.arguments.on_bad_image,
            "analyses": {one.plugin.name: one.parameters for one in self.chosen},
            "fail_on": [condition.expression for condition in self.conditions],
            "arguments": asdict(self.arguments),
        }
        write_record(self.folder, facts, inputs, bench)

    def _introduce(self, inputs: Inputs) -> None:
        self.display.line(f"audit folder: {self.folder.path}")
        for kind, noun in (("models", "model"), ("data", "images")):
            for role, text in inputs.given[kind].items():
                self.display.line(f"  {role} {noun}: {text}")
        self.display.line(f"  analyses: {', '.join(one.plugin.name for one in self.chosen)}")

"""An audit from start to end: inputs, checks, one analyzer after the other, conditions, report."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from transferkit import __version__
from transferkit.analysis.audit_inputs import Inputs, Wanted, collect
from transferkit.analysis.audit_record import write_record
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
from transferkit.training.signals import Interrupting, StopSignal


class Auditing:
    """One audit in its folder, and what it has found so far."""

    def __init__(
        self,
        folder: RunFolder,
        wanted: Wanted,
        chosen: Sequence[Chosen],
        conditions: Sequence[Condition],
        *,
        device: str,
        quiet: bool,
    ) -> None:
        self.folder, self.wanted, self.chosen, self.conditions = folder, wanted, chosen, conditions
        self.device = available_device(device)
        self.display = Display(folder.path / "run.log", quiet=quiet)
        self.reports: dict[str, Report] = {}
        self.findings: list[Finding] = []
        self.errors: list[str] = []
        self.began = time.monotonic()
        self.result: dict[str, Any] = {
            "status": "running", "run_dir": str(folder.path), "seed": wanted.seed, "stages": {}, "analyses": {},
            "metrics": {}, "warnings": [], "findings": [],
        }  # fmt: skip

    def run(self, warnings: Sequence[str] = ()) -> None:
        """All of it; result.json and report.html are complete however it ends, unless the input was wrong.

        `warnings` are those that came up before. Raises InputError, Interrupted, or what nobody expected; analyzers
        that break are in `errors` instead.
        """
        self._write("running")
        try:
            with Interrupting().watching() as stop:
                try:
                    self._analyze(list(warnings))
                except KeyboardInterrupt as error:
                    raise self._stopped(stop) from error
        except InputError as error:
            if isinstance(error, BadImage):
                error.add_note("    here: --skip-bad-images leaves unreadable images out, and the report counts them")
            raise
        except Interrupted:
            self._end("stopped")
            raise
        except BaseException as error:
            self.result["error"] = str(error) or type(error).__name__
            self.display.record(traceback.format_exc())
            self._end("failed")
            raise
        self._judge()
        if self.errors:
            self.result["error"] = "; ".join(self.errors)
        self._end("failed" if self.errors else "done")

    def _analyze(self, warnings: list[str]) -> None:
        """Open and check everything, then one analyzer after the other."""
        inputs = collect(self.wanted, self.display)
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
                self._begin,
                parameters={one.plugin.name: one.parameters for one in self.chosen},
                done=self._done,
            )
        finally:
            bench.board.close()

    def _workbench(self, inputs: Inputs) -> Workbench:
        return Workbench(
            models=inputs.models,
            datasets=inputs.datasets,
            source_data=inputs.data["source"],
            target_data=inputs.data["target"],
            seed=self.wanted.seed,
            display=self.display,
            device=torch.device(self.device),
            images=inputs.images,
        )

    def _begin(self, name: str) -> Path:
        """The folder of an analysis that is about to begin."""
        self.display.line(f"analysis {name}")
        return self.folder.analysis(name)

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

    def _stopped(self, stop: StopSignal) -> Interrupted:
        done = ", ".join(self.reports) or "none yet"
        return Interrupted(
            f"the audit was stopped; finished analyses ({done}) are in {self.folder.path}",
            stop.number or signal.SIGINT,
        )

    def _write(self, status: str) -> None:
        self.result["status"] = status
        self.result["seconds"] = time.monotonic() - self.began
        self.folder.write_result(self.result)

    def _end(self, status: str) -> None:
        self._write(status)
        make_report(self.folder, self.display)

    def _record(self, inputs: Inputs, bench: Workbench | None = None) -> None:
        """audit.json and env.json; with the bench also what the inputs were understood as."""
        facts = {
            "name": "audit",
            "version": __version__,
            "seed": self.wanted.seed,
            "device": self.device,
            "on_bad_image": self.wanted.on_bad_image,
            "analyses": {one.plugin.name: one.parameters for one in self.chosen},
            "fail_on": [condition.expression for condition in self.conditions],
        }
        write_record(self.folder, facts, inputs, bench)

    def _introduce(self, inputs: Inputs) -> None:
        self.display.line(f"audit folder: {self.folder.path}")
        for kind, noun in (("models", "model"), ("data", "images")):
            for role, text in inputs.given[kind].items():
                self.display.line(f"  {role} {noun}: {text}")
        self.display.line(f"  analyses: {', '.join(one.plugin.name for one in self.chosen)}")

"""An audit from start to end: inputs, checks, one analyzer after the other, conditions, report."""

from __future__ import annotations

import math
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch

from transferkit.analysis.audit_inputs import Inputs, collect
from transferkit.analysis.audit_request import RECORD, Arguments
from transferkit.analysis.audit_settings import Settings
from transferkit.analysis.fail_on import Condition, Finding
from transferkit.analysis.run_analyzers import Analysis, run_analyzers
from transferkit.analysis.sanity import check
from transferkit.analysis.workbench import Workbench, has_classifier
from transferkit.data.images import BadImage
from transferkit.errors import InputError, Interrupted
from transferkit.report import Report, write_json
from transferkit.runs.folder import RunFolder
from transferkit.surface import __version__
from transferkit.system.signals import Stopped, StopSignal
from transferkit.training.boards import Board, failing_quietly
from transferkit.training.devices import available_device
from transferkit.training.progress import Display
from transferkit.words.doors import call, said
from transferkit.words.formats import settings_text


class Auditing:
    """One audit in its folder, and what it has found so far."""

    def __init__(
        self,
        folder: RunFolder,
        arguments: Arguments,
        settings: Settings,
        conditions: Sequence[Condition],
        *,
        report: Callable[[RunFolder, Display], None],
        stop: StopSignal,
        quiet: bool,
    ) -> None:
        self.folder, self.arguments, self.settings, self.conditions = folder, arguments, settings, conditions
        self.chosen = settings.chosen
        self.report, self.stop = report, stop
        self.device = available_device(settings.device)
        self.display = Display(folder.path / "run.log", quiet=quiet)
        self.reports: dict[str, Report] = {}
        self.findings: list[Finding] = []
        self.errors: list[str] = []
        self.began = time.monotonic()
        self.result: dict[str, Any] = {
            "status": "running", "run_dir": str(folder.path), "seed": settings.seed, "stages": {}, "analyses": {},
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
                with self.stop.held("drawing the report of what there is"):
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
            skip = said("--skip-bad-images", 'on_bad_image="skip"')
            error.add_note(f"    here: {skip} leaves unreadable images out, and the report counts them")
        self.result["error"] = str(error) or type(error).__name__
        if isinstance(error, InputError):
            self._write("failed")
        else:
            self.display.record("".join(traceback.format_exception(error)))
            self._end("failed")
        raise error

    def _analyze(self, warnings: list[str]) -> None:
        """Open and check everything, then one analyzer after the other."""
        inputs = collect(self.arguments.here(), self.settings.seed, self.display)
        self._record(inputs)
        self._introduce(inputs)
        bench = Workbench(
            models=inputs.models,
            datasets=inputs.datasets,
            source_data=inputs.data["source"],
            target_data=inputs.data["target"],
            seed=self.settings.seed,
            display=self.display,
            device=torch.device(self.device),
            images=inputs.images,
        )
        warnings += check(bench)
        for text in warnings:
            self.display.warn(text)
        self.result["warnings"] = warnings
        self._record(inputs, bench)
        self._write("running")
        bench.board = Board(self.folder.path / "tb", self.display.warn)
        try:
            known = (*self.settings.beside, *self.chosen)
            peers = {one.plugin.component.name: one.plugin.instance for one in known}
            places = {one.plugin.name: self.folder.analysis(one.plugin.name) for one in self.chosen}
            chosen = [
                (one.plugin, partial(Analysis, bench, one.plugin, places[one.plugin.name], one.parameters, peers))
                for one in self.chosen
            ]
            with failing_quietly():
                self.errors = list(run_analyzers(chosen, self.display, self._done))
        finally:
            bench.board.close()

    def _done(self, name: str, report: Report | Mapping[str, Any]) -> None:
        """Take down what was found, now or before the audit was stopped."""
        if not isinstance(report, Report):
            metrics = {metric: math.nan if value is None else value for metric, value in report["metrics"].items()}
            report = Report(metrics, verdict=report.get("verdict"))
        self.reports[name] = report
        self.result["analyses"][name] = f"analyses/{name}/report.json"
        self.result["metrics"][name] = report.numbers
        self._write("running")

    def _judge(self) -> None:
        """Decide the conditions: what was not measured cannot have passed."""
        self.findings = [condition.evaluate(self.result["metrics"]) for condition in self.conditions]
        self.result["findings"] = [asdict(one) for one in self.findings]
        for finding in self.findings:
            self.display.record(f"fail-on {finding}")

    def _stopped(self, number: int) -> Interrupted:
        done = ", ".join(self.reports) or "none yet"
        error = Interrupted(f"the audit was stopped; finished analyses ({done}) are in {self.folder.path}", number)
        error.add_note(f"go on with: {call('resume', self.folder.path)}")
        return error

    def _write(self, status: str) -> None:
        self.result["status"] = status
        self.result["seconds"] = time.monotonic() - self.began
        self.folder.write_result(self.result)

    def _end(self, status: str) -> None:
        self._write(status)
        self.report(self.folder, self.display)

    def _record(self, inputs: Inputs | None = None, bench: Workbench | None = None) -> None:
        """audit.json and env.json; with inputs and bench also what was found and what it was understood as."""
        content: dict[str, Any] = {
            "name": "audit",
            "version": __version__,
            "seed": self.settings.seed,
            "device": self.device,
            "on_bad_image": self.arguments.on_bad_image,
            "analyses": {one.plugin.name: one.parameters for one in self.chosen},
            "inherited": self.settings.inherited,
            "fail_on": [condition.expression for condition in self.conditions],
            "arguments": asdict(self.arguments),
            "models": {},
            "data": {},
        }
        for kind, texts in (inputs.given if inputs is not None else {}).items():
            describe = _model if kind == "models" else _data
            for role, text in texts.items():
                content[kind][role] = {"given": text, **(describe(bench, role) if bench is not None else {})}
        if bench is not None:
            content["class_mapping"] = bench.class_list.how
        write_json(self.folder.path / RECORD, content)
        self.folder.write_environment(seed=self.settings.seed, device=self.device)

    def _introduce(self, inputs: Inputs) -> None:
        self.display.line(f"audit folder: {self.folder.path}")
        for kind, noun in (("models", "model"), ("data", "images")):
            for role, text in inputs.given[kind].items():
                self.display.line(f"  {role} {noun}: {text}")
        self.display.line(f"  analyses: {', '.join(one.plugin.name for one in self.chosen)}")
        if self.settings.inherited:
            self.display.line(f"  from the run's recipe: {settings_text(self.settings.inherited)}")


def _model(bench: Workbench, role: str) -> dict[str, Any]:
    model = bench.model(role)
    height, width = model.preprocessing.input_size
    outputs = f"{len(model.classes)} classes" if has_classifier(model) else "no classifier"
    return {
        "description": f"{model.architecture}, {outputs}, {height}x{width} pixels",
        "architecture": model.architecture,
        "options": model.options,
        "preprocessing": model.preprocessing.to_json(),
        "content": bench.given(role).digest,
    }


def _data(bench: Workbench, role: str) -> dict[str, Any]:
    splits = {
        split: {
            "images": len(part.readable),
            "classes": len(np.unique(part.source.labels[part.readable])),
            "of": len(part.source.classes),
            "left_out": len(part.left_out),
        }
        for split in ("train", "val", "test")
        if (part := bench.part(role, split)) is not None
    }
    looked_at = bench.default_split(role)
    used = splits[looked_at]
    return {
        "description": f"{used['images']} images of {used['classes']} of {used['of']} classes ({looked_at} split)",
        "splits": splits,
        "left_out": sum(split["left_out"] for split in splits.values()),
    }

"""A recipe from start to end: its stages in order, then its analyses, then the report."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import __version__
from transferkit.atomic import remove_leftovers, storing
from transferkit.errors import InputError, Interrupted, StorageError
from transferkit.folder import RunFolder
from transferkit.hooks import Plugin
from transferkit.recipe import Loaded, schema
from transferkit.recipe.counting import remarks
from transferkit.report import Report
from transferkit.suggest import did_you_mean
from transferkit.training.peers import LostProcess, explained
from transferkit.training.progress import Display
from transferkit.training.signals import Stopped, StopSignal

if TYPE_CHECKING:
    from transferkit.analysis.of_run import Live, RunModels
    from transferkit.training.stage_plan import StagePlan
    from transferkit.training.watching import Scheduled

Result = dict[str, Any]


class Runner:
    """One seed of one recipe in one run folder. Starting it again goes on where it stopped."""

    def __init__(
        self,
        loaded: Loaded,
        folder: RunFolder,
        *,
        display: Display,
        stop: StopSignal,
        main: bool = True,
        accept: Collection[str] = (),
        extended: str | None = None,
    ) -> None:
        self.loaded, self.folder, self.seed = loaded, folder, loaded.recipe.seed
        self.display, self.stop, self.main = display, stop, main
        self.accept, self.extended = accept, extended
        self.result: Result = {
            "status": "running",
            "run_dir": str(folder.path),
            "seed": self.seed,
            "stages": {},
            "analyses": {},
        }
        earlier = folder.result
        self.result |= {k: v for k, v in earlier.items() if k in ("stages", "analyses")}
        resumed = any((folder.path / "stages").glob("*/checkpoints/*"))
        self._before = earlier.get("status") if resumed else None

    def run(self, stages: Sequence[str]) -> Result:
        """Run the named stages and the analyses whose models are there; result.json says how it ended."""
        self.result["wanted"] = list(stages)
        if self.main:
            remove_leftovers(self.folder.path)
        with recording(self.folder, self.result, self._write, self._close, self.stop, before=self._before):
            self._say_what_is_left_out()
            for name in stages:
                plan = self.plan(self.loaded.recipe.stage(name), self.folder)
                accepted = self._accepted(plan)
                if self._is_done(plan.stage):
                    self.display.line(f"stage {name}: done already")
                    continue
                with self.stop.phase(f"preparing or closing stage {name}"):
                    self._run_stage(plan, accepted)
            self._run_analyses()
        return self.result

    def _close(self) -> None:
        if "_models" in vars(self):
            self._models.close()
        if self.main:
            make_report(self.folder, self.display)

    def _say_what_is_left_out(self) -> None:
        """Files of the data sets that are no sample, images in both train and val, and the like."""
        for name, dataset in self.loaded.recipe.datasets.items() if self.main else ():
            for line in remarks(name, dataset) if dataset.from_ is None else ():
                self.display.line(line, style="yellow" if line.startswith("warning") else None)

    def _write(self, status: str) -> None:
        self.result["status"] = status
        if not self.main:
            return
        try:
            self.folder.write_result(self.result)
        except StorageError as error:
            if status in ("running", "done"):
                raise
            self.display.warn(str(error))  # what ended the run is on its way to the user already

    # -- stages -----------------------------------------------------------------------------------------------

    def _is_done(self, stage: schema.Stage) -> bool:
        """Whether its model is there."""
        finished = stage.name in self.result["stages"] and self.folder.model(stage.name).is_dir()
        return finished and stage.name != self.extended

    def _accepted(self, plan: StagePlan) -> list[str]:
        """What is not as it was when the stage's newest checkpoint was written, and is accepted. Raises InputError."""
        from transferkit.training.saving import refuse_other_recipe

        found = refuse_other_recipe(plan)
        return [f"stage {plan.stage.name} goes on with a difference: {sentence}" for sentence in found]

    def _run_stage(self, plan: StagePlan, accepted: Sequence[str]) -> None:
        from transferkit.training.loop import train
        from transferkit.training.prepare import opened
        from transferkit.training.saving import restore

        plan.board, plan.scheduled = self.folder.path / "tb", self._scheduled(plan.stage)
        with opened(plan) as session:
            checkpoint = session.checkpoints.newest()
            if checkpoint is not None:
                restore(session, checkpoint)
                for sentence in accepted:
                    session.warn(sentence)
                if self.main:
                    self.folder.write_recipe(self.loaded.dump())  # what it goes on with: data may have moved
                self.display.line(f"stage {plan.stage.name}: going on from {checkpoint.name}")
            else:
                self.display.line(f"run folder: {self.folder.path}")
                self.display.introduce(session)
            session.preview()
            with self.stop.held():  # it stops by itself, between two steps
                train(session)
            with self.stop.phase(f"finishing stage {plan.stage.name}; its training is complete"):
                self._finish_stage(session)

    def plan(self, stage: schema.Stage, into: RunFolder) -> StagePlan:
        """What it takes to prepare a stage that writes into that run folder. It starts from a model of this run."""
        from transferkit.training.stage_plan import StagePlan

        return StagePlan(
            recipe=self.loaded.recipe,
            stage=stage,
            plugins=self.loaded.plugins(stage),
            corruptions={name: self.loaded.corruptions(name) for name in self.loaded.recipe.datasets},
            seed=self.seed,
            out=into.stage(stage.name),
            start=self._start(stage),
            display=self.display,
            stop=self.stop,
            accept=self.accept,
            extended=stage.name == self.extended,
        )

    def _start(self, stage: schema.Stage) -> Path | None:
        """The model folder a stage starts from: another stage's, or a path."""
        if stage.start in ("pretrained", "scratch"):
            return None
        if any(other.name == stage.start for other in self.loaded.recipe.stages):
            folder = self.folder.model(stage.start)
            if not folder.is_dir():
                raise InputError(f'stage "{stage.name}" starts from "{stage.start}", which has not been run yet')
            return folder
        return Path(stage.start)

    def _finish_stage(self, session: Any) -> None:
        """Take the weights that are kept, evaluate on test, write the model folder and the stage's result."""
        from transferkit.model_folder import save_model
        from transferkit.training.datasets import fingerprints
        from transferkit.training.saving import load_weights

        stage, state = session.stage, session.state
        session.checkpoints.settle()
        best = session.checkpoints.best() if stage.keep == "best" else None
        if best is not None:
            load_weights(session, best)
        model = session.best_model()
        if stage.keep == "best" and state.best is not None and state.best["epoch"] < 0:
            session.warn(f"no epoch beat the {stage.head_init} head it started with: the start was kept")
        entry: Result = {
            "kept": stage.keep,
            "best": state.best,
            "last": state.last,
            "model": f"stages/{stage.name}/model",
            "classes": session.classes,
            "images": {
                "train": len(session.train_samples),
                "val": len(session.validation_samples) if session.validation_samples is not None else 0,
            },
            "fingerprints": fingerprints(session.train_samples, session.validation_samples),
            "steps": state.step,
            "images_seen": session.images_seen(),
            "seconds": state.seconds,
            "stopped_early": state.stopped_early,
            "warnings": state.warnings,
        }
        if state.failed_analyses:
            entry["failed_analyses"] = state.failed_analyses
        if session.pruning is not None:
            entry["pruning"] = session.pruning.record()
        for name, evaluation in session.evaluate_best(model).items():
            entry.setdefault("evaluations", {})[name] = evaluation.record(session.classes, every_class=True)
            if name == "val" and len(session.classes) <= 100:
                entry["confusion"] = evaluation.confusion.tolist()
        info = {
            "recipe": self.loaded.recipe.name,
            "stage": stage.name,
            "seed": self.seed,
            "version": __version__,
            "source": {
                "start": stage.start,
                "classes": session.source_head.classes if session.source_head is not None else [],
            },
        }
        with self.stop.held():
            if self.main:
                with storing(f"the model of stage {stage.name}"):
                    save_model(self.folder.model(stage.name), model, session.source_head, info)
            session.accelerator.wait_for_everyone()
            self.result["stages"][stage.name] = entry
            self._write("running")
        self.display.finish_stage(stage.name, entry)

    # -- analyses ---------------------------------------------------------------------------------------------

    @cached_property
    def _models(self) -> RunModels:
        """The models that analyses look at, opened once for all of them."""
        from transferkit.analysis.of_run import RunModels

        return RunModels(self.loaded, self.folder, self.seed, self.display)

    @cached_property
    def _analyzers(self) -> list[tuple[schema.AnalyzerUse, Plugin]]:
        return list(zip(self.loaded.recipe.analyses, self.loaded.analyses(), strict=True))

    def _run_analyses(self) -> None:
        """Each analyzer sees finished models only, on the main process. One that fails does not stop the others."""
        failures: list[Exception] = []
        for use, plugin in self._analyzers if self.main else ():
            if self._target(use) not in self.result["stages"]:
                continue
            try:
                with self.stop.phase(f"analysis {use.instance_name} was at work; those before it are kept"):
                    if self._analyze(use, plugin) is None:
                        self.display.line(f"analysis {use.instance_name}: done already")
            except (InputError, Interrupted):
                raise
            except Exception as error:
                failures.append(error)
                self.display.record(traceback.format_exc())
                continue
            self.result["analyses"][use.instance_name] = f"analyses/{use.instance_name}/report.json"
            self._write("running")
        if failures:
            raise failures[0]

    def _scheduled(self, stage: schema.Stage) -> list[Scheduled]:
        """The analyses that also look at this stage's model while it trains."""
        from transferkit.training.watching import Scheduled

        return [
            Scheduled(use.instance_name, use.every, partial(self._analyze, use, plugin))
            for use, plugin in self._analyzers
            if use.every is not None and self.main and self._target(use) == stage.name
        ]

    def _target(self, use: schema.AnalyzerUse) -> str:
        return use.stage or self.loaded.recipe.stages[-1].name

    def _analyze(
        self, use: schema.AnalyzerUse, plugin: Plugin, *, live: Live | None = None, epoch: int | None = None
    ) -> Report | None:
        """One analyzer, on saved models or, after `epoch`, on a copy of the live one. None where it is done already."""
        from transferkit.analysis.perform import finished, perform

        out = self.folder.analysis(use.instance_name)
        if epoch is not None:
            out = out / f"epoch-{epoch:04d}"
        bench, peers = self._models.workbench(use, live), self._peers(use)
        parameters = use.model_dump(exclude={"use", "name"})
        if finished(out, bench, plugin, parameters, peers) is not None:
            return None
        if epoch is None:
            self.display.line(f"analysis {use.instance_name}")
        return perform(bench, plugin, out, parameters=parameters, peers=peers, run=self._models.view(use), step=epoch)

    def _peers(self, use: schema.AnalyzerUse) -> dict[str, Any]:
        """The analyzers of this recipe by registered name; the one that looks at the same models comes first."""
        alike = sorted(self._analyzers, key=lambda pair: (pair[0].stage, pair[0].dataset) == (use.stage, use.dataset))
        return {plugin.component.name: plugin.instance for _, plugin in alike}


@contextmanager
def recording(
    folder: RunFolder,
    result: Result,
    write: Callable[[str], None],
    close: Callable[[], None],
    stop: StopSignal,
    before: str | None = None,
) -> Iterator[None]:
    """However it ends inside, `write(status)` says so and `close()` draws what there is; `result` gets the reason.

    Wrong input leaves a run that is resumed with the status it had `before`. An error that follows from another
    process's end is told as that.
    """
    with stop.last_words(folder.end):
        write("running")
        try:
            yield
        except BaseException as error:
            with stop.held():
                reason = explained(error)
                stopped = isinstance(reason, Interrupted | Stopped | KeyboardInterrupt)
                refused = before if isinstance(reason, InputError) else None
                if not stopped and refused is None:
                    result["error"] = str(reason) or type(reason).__name__
                write("stopped" if stopped else refused or "failed")
                if isinstance(reason, LostProcess):  # perhaps of the one that writes
                    folder.end("failed", str(reason))
                close()
            if reason is error:
                raise
            raise reason from error
        result.pop("error", None)
        write("done")
        try:
            with stop.phase("drawing report.html; everything else is done"):
                close()
        except Interrupted:
            write("stopped")
            raise


def make_report(folder: RunFolder, display: Display) -> None:
    """Write report.html. The results are safe on disk: a picture of them that fails must not take them away."""
    from transferkit.analysis.html import write_report

    try:
        write_report(folder.path)
    except Exception as error:
        display.warn(f"report.html could not be written: {type(error).__name__}: {error}")
        display.record(traceback.format_exc())


def wanted_stages(recipe: schema.Recipe, names: Sequence[str] | None) -> list[str]:
    """The named stages and those they start from, in recipe order; all of them without names."""
    known = {stage.name: stage for stage in recipe.stages}
    if not names:
        return list(known)
    chosen: set[str] = set()
    for name in names:
        if name not in known:
            raise InputError(f'--stages: no stage called "{name}"; {did_you_mean(name, known)}')
        current: str | None = name
        while current in known:
            chosen.add(current)
            current = known[current].start
    return [name for name in known if name in chosen]


def remove_empty(folder: RunFolder, out: Path) -> None:
    """Take back a run folder in which nothing was done: wrong input leaves nothing behind, not even an empty `out`."""
    if not any((folder.path / "stages").glob("*/checkpoints/step-*")) and not any(
        (folder.path / "stages").glob("*/model")
    ):
        shutil.rmtree(folder.path, ignore_errors=True)
        for parent in (folder.path.parent, out):
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()

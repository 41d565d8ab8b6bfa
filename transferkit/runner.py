"""A recipe from start to end: its stages in order, then its analyses, then the report."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import __version__
from transferkit.errors import InputError, Interrupted
from transferkit.folder import RunFolder
from transferkit.hooks import Plugin
from transferkit.recipe import Loaded, schema
from transferkit.report import Report
from transferkit.suggest import did_you_mean
from transferkit.training.progress import Display
from transferkit.training.signals import StopSignal

if TYPE_CHECKING:
    from transferkit.analysis.of_run import Live, RunModels
    from transferkit.training.session import Scheduled

Result = dict[str, Any]


class Runner:
    """One seed of one recipe in one run folder. Starting it again goes on where it stopped."""

    def __init__(
        self,
        loaded: Loaded,
        folder: RunFolder,
        *,
        seed: int,
        display: Display,
        stop: StopSignal,
        main: bool = True,
    ) -> None:
        self.loaded, self.folder, self.seed = loaded, folder, seed
        self.display, self.stop, self.main = display, stop, main
        self.result: Result = {
            "status": "running",
            "run_dir": str(folder.path),
            "seed": seed,
            "stages": {},
            "analyses": {},
        }
        if (folder.path / "result.json").is_file():
            self.result |= {k: v for k, v in folder.result.items() if k in ("stages", "analyses")}

    def run(self, stages: Sequence[str]) -> Result:
        """Run the named stages and the analyses whose models are there; result.json says how it ended."""
        try:
            with self._status():
                for name in stages:
                    if name in self.result["stages"] and self.folder.model(name).is_dir():
                        self.display.line(f"stage {name}: done already")
                        continue
                    self._run_stage(self.loaded.recipe.stage(name))
                self._run_analyses()
        finally:
            if "_models" in vars(self):
                self._models.close()
            if self.main:
                make_report(self.folder, self.display)
        return self.result

    @contextmanager
    def _status(self) -> Iterator[None]:
        self._write("running")
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            self._write("stopped")
            raise
        except BaseException as error:
            self.result["error"] = str(error) or type(error).__name__
            self._write("failed")
            raise
        self.result.pop("error", None)
        self._write("done")

    def _write(self, status: str) -> None:
        self.result["status"] = status
        if self.main:
            self.folder.write_result(self.result)

    # -- stages -----------------------------------------------------------------------------------------------

    def _run_stage(self, stage: schema.Stage) -> None:
        from transferkit.training.loop import train
        from transferkit.training.prepare import opened
        from transferkit.training.saving import restore
        from transferkit.training.stage_plan import StagePlan

        plan = StagePlan(
            recipe=self.loaded.recipe,
            stage=stage,
            plugins=self.loaded.plugins(stage),
            corruptions={name: self.loaded.corruptions(name) for name in self.loaded.recipe.datasets},
            seed=self.seed,
            out=self.folder.stage(stage.name),
            start=self._start(stage),
            display=self.display,
            stop=self.stop,
            board=self.folder.path / "tb",
            scheduled=self._scheduled(stage),
        )
        with opened(plan) as session:
            checkpoint = session.checkpoints.newest()
            if checkpoint is not None:
                restore(session, checkpoint)
                self.display.line(f"stage {stage.name}: going on from {checkpoint.name}")
            else:
                self.display.line(f"run folder: {self.folder.path}")
                self.display.introduce(session)
            session.preview()
            train(session)
            self._finish_stage(session)

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
        from transferkit.training.saving import load_weights

        stage, state = session.stage, session.state
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
            entry.setdefault("evaluations", {})[name] = evaluation.record(session.classes)
            if name == "val" and len(session.classes) <= 100:
                entry["confusion"] = evaluation.confusion.tolist()
        if self.main:
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
            self.display.line(f"analysis {use.instance_name}")
            try:
                self._analyze(use, plugin)
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
        from transferkit.training.session import Scheduled

        return [
            Scheduled(use.instance_name, use.every, partial(self._analyze, use, plugin))
            for use, plugin in self._analyzers
            if use.every is not None and self.main and self._target(use) == stage.name
        ]

    def _target(self, use: schema.AnalyzerUse) -> str:
        return use.stage or self.loaded.recipe.stages[-1].name

    def _analyze(
        self, use: schema.AnalyzerUse, plugin: Plugin, *, live: Live | None = None, epoch: int | None = None
    ) -> Report:
        """One analyzer, on saved models or, after `epoch`, on a copy of the live one."""
        from transferkit.analysis.perform import perform

        out = self.folder.analysis(use.instance_name)
        if epoch is not None:
            out = out / f"epoch-{epoch:04d}"
        return perform(
            self._models.workbench(use, live),
            plugin,
            out,
            parameters=use.model_dump(exclude={"use", "name"}),
            peers=self._peers(use),
            run=self._models.view(use),
            step=epoch,
        )

    def _peers(self, use: schema.AnalyzerUse) -> dict[str, Any]:
        """The analyzers of this recipe by registered name; the one that looks at the same models comes first."""
        alike = sorted(self._analyzers, key=lambda pair: (pair[0].stage, pair[0].dataset) == (use.stage, use.dataset))
        return {plugin.component.name: plugin.instance for _, plugin in alike}


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

"""A recipe from start to end: its stages in order, then its analyses, then the report; of several seeds one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from accelerate import PartialState

from transferkit.errors import InputError, Interrupted, StorageError
from transferkit.model.adapting import merged
from transferkit.model.folder import save_model
from transferkit.model.wrapper import TransferModel
from transferkit.recipe import Loaded, schema
from transferkit.recipe.counting import images_to_train, remarks
from transferkit.recipe.folding import fold_of
from transferkit.runs.fitting import train_as_it_fits
from transferkit.runs.folder import RunFolder
from transferkit.runs.planning import PassSize, plan_stage
from transferkit.surface import __version__
from transferkit.system.atomic import remove_leftovers, storing
from transferkit.system.signals import Stopped, StopSignal
from transferkit.training.datasets import fingerprints
from transferkit.training.diagnostics import introduce
from transferkit.training.edit_session import short
from transferkit.training.edits import apply_edits
from transferkit.training.loop import train
from transferkit.training.out_of_fold import write_out_of_fold
from transferkit.training.peers import LostProcess, explained
from transferkit.training.prepare import opened
from transferkit.training.progress import Display
from transferkit.training.saving import load_weights, refuse_changed_images, refuse_other_recipe, restore
from transferkit.training.stage_plan import Scheduled, StagePlan
from transferkit.training.starting_model import try_later_starts
from transferkit.training.still import Still, opened_still, source_model
from transferkit.training.tracking import keep_artifacts, keep_report
from transferkit.training.trainer import Trainer
from transferkit.words.doors import option
from transferkit.words.suggest import did_you_mean

Result = dict[str, Any]


class Analyses(Protocol):
    """What looks at the models of a run."""

    def scheduled(self, stage: schema.Stage) -> Sequence[Scheduled]:
        """What looks at this stage's model while it trains."""

    def run(self, stages: Container[str], done: Callable[[str], None]) -> None:
        """Look at the models of finished stages, and call `done(name)` after each analysis."""

    def close(self) -> None:
        """End what was opened."""


class Recorded:
    """What is done in a run folder: result.json says how it stands, and however it ends, a report of it is drawn."""

    def __init__(
        self,
        loaded: Loaded,
        folder: RunFolder,
        *,
        display: Display,
        stop: StopSignal,
        report: Callable[[RunFolder, Display], None],
        main: bool = True,
    ) -> None:
        self.loaded, self.folder = loaded, folder
        self.display, self.stop, self.report, self.main = display, stop, report, main
        self.result: Result = {}

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

    def _close(self) -> None:
        if self.main:
            self.report(self.folder, self.display)

    @contextmanager
    def _recording(self, before: str | None = None) -> Iterator[None]:
        """However it ends inside, result.json says so, and why.

        Wrong input leaves a run that is resumed with the status it had `before`. An error that follows from another
        process's end is told as that.
        """
        with self.stop.last_words(self.folder.end):
            self._write("running")
            try:
                yield
            except BaseException as error:
                with self.stop.held("drawing the report of what there is"):
                    reason = explained(error)
                    stopped = isinstance(reason, Interrupted | Stopped | KeyboardInterrupt)
                    refused = before if isinstance(reason, InputError) else None
                    if not stopped and refused is None:
                        notes = [note.partition("\n")[0] for note in getattr(reason, "__notes__", ())]  # whose fault
                        self.result["error"] = "; ".join([str(reason) or type(reason).__name__, *notes])
                    self._write("stopped" if stopped else refused or "failed")
                    if isinstance(reason, LostProcess):  # perhaps of the one that writes
                        self.folder.end("failed", str(reason))
                    self._close()
                if reason is error:
                    raise
                raise reason from error
            self.result.pop("error", None)
            self._write("done")
            try:
                with self.stop.phase("drawing report.html; everything else is done"):
                    self._close()
                    if self.main:
                        keep_report(self.folder.path, self.loaded.recipe.name, self.display.warn)
            except Interrupted:
                self._write("stopped")
                raise


class Runner(Recorded):
    """One seed of one recipe in one run folder. Starting it again goes on where it stopped.

    `analyses` makes those of this run; `report` draws what there is when it ends; `card` is of a stage's model.
    """

    def __init__(
        self,
        loaded: Loaded,
        folder: RunFolder,
        *,
        analyses: Callable[[Loaded, RunFolder, Display, StopSignal], Analyses],
        accept: Collection[str] = (),
        extended: str | None = None,
        card: Callable[[RunFolder, str], object] = lambda folder, stage: None,
        **recorded: Any,
    ) -> None:
        super().__init__(loaded, folder, **recorded)
        self.seed, self.accept, self.extended, self.card = loaded.recipe.seed, accept, extended, card
        self.later = 0
        """Images that seeds after this one will train on."""
        self.analyses = analyses(loaded, folder, self.display, self.stop)
        facts = {"status": "running", "run_dir": str(folder.path), "seed": self.seed}
        facts |= {} if loaded.recipe.fold is None else {"fold": loaded.recipe.fold}
        self.result = facts | {"stages": {}, "analyses": {}}
        earlier = folder.result
        self.result |= {k: v for k, v in earlier.items() if k in ("stages", "analyses")}
        resumed = any((folder.path / "stages").glob("*/checkpoints/*"))
        self._before = earlier.get("status") if resumed else None

    def run(self, stages: Sequence[str]) -> Result:
        """Run the named stages and the analyses whose models are there; result.json says how it ended."""
        self.result["wanted"] = list(stages)
        if self.main:
            remove_leftovers(self.folder.path)
        self.display.line(f"run folder: {self.folder.path}")
        with self._recording(self._before):
            for name, dataset in self.loaded.recipe.datasets.items() if self.main else ():
                for line in remarks(name, dataset) if dataset.from_ is None else ():  # what is left out, and the like
                    self.display.line(line, style="yellow" if line.startswith("warning") else None)
            open_ones = [name for name in stages if name not in self.result["stages"]]
            try_later_starts(self.loaded.recipe, open_ones, self.display.line)
            for done, name in enumerate(stages, start=1):
                plan = self._planned(name)
                accepted = refuse_other_recipe(plan)
                if name in self.result["stages"] and self.folder.model(name).is_dir() and not plan.extended:
                    self.display.line(f"stage {name}: done already")
                    continue
                self.display.begin_stage(images_to_train(self.loaded.recipe, stages[done:]) + self.later)
                with self.stop.phase(f"preparing or closing stage {name}"):
                    if plan.stage.trains:
                        train_as_it_fits(plan, partial(self._run_stage, accepted), partial(self._planned, name))
                    else:
                        self._edit_stage(plan)
            if self.main:
                self.analyses.run(self.result["stages"], self._analyzed)
                for name in self.result["stages"] if self.result["analyses"] else ():
                    self.card(self.folder, name)
            PartialState().wait_for_everyone()  # others wait for the one that analyses: if it is killed, they say so
        return self.result

    def _analyzed(self, name: str) -> None:
        self.result["analyses"][name] = f"analyses/{name}/report.json"
        self._write("running")

    def _close(self) -> None:
        self.analyses.close()
        super()._close()

    def _planned(self, name: str, batch: PassSize | None = None) -> StagePlan:
        run, shown, stop = self.folder, self.display, self.stop
        plan = plan_stage(self.loaded, name, run, run, display=shown, stop=stop, batch=batch)
        plan.accept, plan.extended = self.accept, name == self.extended
        return plan

    def _run_stage(self, accepted: Sequence[str], plan: StagePlan) -> None:
        plan.board, plan.scheduled = self.folder.path / "tb", self.analyses.scheduled(plan.stage) if self.main else ()
        self.display.line(f"preparing stage {plan.stage.name}")  # large data and models take their time
        with opened(plan) as session:
            checkpoint = session.checkpoints.newest()
            if checkpoint is not None:
                restore(session, checkpoint, accepted)
                if self.main:
                    self.folder.write_recipe(self.loaded.dump())  # what it goes on with: data may have moved
                self.display.line(f"stage {plan.stage.name}: going on from {checkpoint.name}")
            else:
                for sentence in refuse_changed_images(session, self.result["stages"]):
                    session.warn(f"stage {plan.stage.name} begins with a difference: {sentence}")
                introduce(session)
            session.preview()
            with self.stop.held("finishing this step, then saving"):  # it stops by itself, between two steps
                train(session)
            with self.stop.phase(f"finishing stage {plan.stage.name}; its training is complete"):
                self._finish_stage(session)

    def _finish_stage(self, session: Trainer) -> None:
        """Take the weights that are kept, evaluate on test, write the model folder and the stage's result."""
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
            "images": {"train": len(session.train_samples), "val": len(session.validation_samples or ())},
            "fingerprints": fingerprints(session.train_samples, session.validation_samples),
            "steps": state.step,
            "images_seen": {name: state.seen.get(name, 0) for name in session.loader.streams},
            "seconds": state.seconds,
            "stopped_early": state.stopped_early,
            "warnings": state.warnings,
        }
        if state.failed_analyses:
            entry["failed_analyses"] = state.failed_analyses
        if stage.auto_batch:
            entry["batch"] = {"batch_size": stage.batch_size, "accumulate": stage.accumulate}
        if model.adapters:
            entry["adapters"] = [adapter.to_json() for adapter in model.adapters]
            entry["parameters"] = session.parameter_counts()
        for adapter in model.adapters:
            if not adapter.merges:
                session.warn(
                    f"the model keeps the layers of {adapter}, which cannot be merged: it opens here where that is "
                    "installed, and not in plain timm"
                )
        if state.plugins:
            entry["plugins"] = state.plugins
        self._keep(session, model, entry)

    def _edit_stage(self, plan: StagePlan) -> None:
        """A stage without training: the model it starts from, edited."""
        began = time.perf_counter()
        self.display.line(f"stage {plan.stage.name}: edits of {plan.stage.start}, without training", style="bold")
        with opened_still(plan) as session:
            entry: Result = {
                "kept": "edited",
                "best": None,
                "last": None,
                "model": f"stages/{plan.stage.name}/model",
                "classes": session.classes,
                "images": {"train": len(session.train_samples), "val": len(session.validation_samples or ())},
                "fingerprints": fingerprints(session.train_samples, session.validation_samples),
                "steps": 0,
                "images_seen": {},
                "seconds": began,
                "stopped_early": False,
                "warnings": session.state.warnings,
            }
            self._keep(session, session.model, entry)

    def _keep(self, session: Trainer | Still, model: TransferModel, entry: Result) -> None:
        """Edit the model, evaluate it on test, write its folder and the stage's result."""
        stage = session.stage
        reference = (lambda: session.reference) if stage.trains else partial(source_model, session.plan)
        if stage.edits:
            model = merged(model)  # edits know a model by the names of its plain layers
        edited = apply_edits(session, session, model, reference)
        if edited.records:
            entry["edits"] = edited.records
        for name, evaluation in edited.evaluations.items():
            entry.setdefault("evaluations", {})[name] = evaluation.record(session.classes, every_class=True)
            if name == "val" and len(session.classes) <= 100:
                entry["confusion"] = evaluation.confusion.tolist()
        if not stage.trains:
            measured = next(((name, short(one)) for name, one in edited.evaluations.items() if name == "val"), None)
            last = None if measured is None else {"epoch": None, "top1": None, **measured[1], "split": "val"}
            entry |= {"best": last, "last": last, "seconds": time.perf_counter() - entry["seconds"]}
        fold = fold_of(self.loaded.recipe, stage)
        if fold is not None:
            write_out_of_fold(session, model, fold[0] + 1)
        head = edited.source_head
        info = {
            "recipe": self.loaded.recipe.name,
            "stage": stage.name,
            "seed": self.seed,
            "version": __version__,
            "source": {"start": stage.start, "classes": head.classes if head else []},
        }
        with self.stop.held("writing the model"):
            if self.main:
                with storing(f"the model of stage {stage.name}"):
                    save_model(self.folder.model(stage.name), model, head, info)
            keep_artifacts(session.accelerator.trackers, self.folder.path, self.folder.model(stage.name), session.warn)
            session.accelerator.wait_for_everyone()
            self.result["stages"][stage.name] = entry
            self._write("running")
            self.card(self.folder, stage.name)
        self.display.finish_stage(stage.name, entry)


def wanted_stages(recipe: schema.Recipe, names: Sequence[str] | None) -> list[str]:
    """The named stages and those they start from, in recipe order; all of them without names."""
    known = {stage.name: stage for stage in recipe.stages}
    if not names:
        return list(known)
    chosen: set[str] = set()
    for name in names:
        if name not in known:
            raise InputError(f'{option("stages")}: no stage called "{name}"; {did_you_mean(name, known)}')
        current: str | None = name
        while current in known:
            chosen.add(current)
            current = known[current].start
    return [name for name in known if name in chosen]

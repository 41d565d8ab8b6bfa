"""The analyses of a recipe, in a run: on schedule and at the end, and which models and data sets each looks at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from transferkit.analysis.run_analyzers import Analysis, run_analyzer, run_analyzers
from transferkit.analysis.session import RunView
from transferkit.analysis.workbench import Given, Workbench
from transferkit.data.parts import StageImages
from transferkit.errors import InputError
from transferkit.model.creation import build
from transferkit.model.folder import open_model
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.plugins.hooks import Plugin
from transferkit.recipe import Loaded, schema
from transferkit.recipe.folding import fold_of
from transferkit.recipe.places import places_in
from transferkit.recipe.uses import AnalyzerUse
from transferkit.report import Report
from transferkit.runs.folder import RunFolder
from transferkit.runs.origin import source_of, trained_stage
from transferkit.system.signals import StopSignal
from transferkit.training.boards import Board
from transferkit.training.cache import Cache
from transferkit.training.progress import Display
from transferkit.training.stage_plan import Scheduled

Live = tuple[TransferModel, SourceHead | None]


class RunAnalyses:
    """What a run asks of its analyses: see `transferkit.runs.runner.Analyses`."""

    def __init__(self, loaded: Loaded, folder: RunFolder, display: Display, stop: StopSignal) -> None:
        self._loaded, self._folder, self._display, self._stop = loaded, folder, display, stop
        self._uses = list(zip(loaded.recipe.analyses, loaded.analyses(), strict=True))

    @cached_property
    def _models(self) -> RunModels:
        """The models that they look at, opened once for all of them."""
        return RunModels(self._loaded, self._folder, self._loaded.recipe.seed, self._display)

    def scheduled(self, stage: schema.Stage) -> list[Scheduled]:
        """Those that also look at this stage's model while it trains."""
        return [
            Scheduled(use.instance_name, use.every, partial(self._on_schedule, use, plugin))
            for use, plugin in self._uses
            if use.every is not None and self._target(use) == stage.name
        ]

    def run(self, stages: Container[str], done: Callable[[str], None]) -> None:
        """Those of finished `stages`, in order, and `done(name)` after each. One that fails does not stop the others;
        the first failure is raised at the end."""
        failed = run_analyzers(
            [
                (plugin, partial(self._analysis, use, plugin))
                for use, plugin in self._uses
                if self._target(use) in stages
            ],
            self._display,
            lambda name, report: done(name),
            lambda name: self._stop.phase(f"analysis {name} was at work; those before it are kept"),
        )
        for error in failed.values():
            raise error

    def close(self) -> None:
        """End what writes in the background."""
        if "_models" in vars(self):
            self._models.close()

    def _target(self, use: AnalyzerUse) -> str:
        return use.stage or self._loaded.recipe.stages[-1].name

    def _on_schedule(self, use: AnalyzerUse, plugin: Plugin, live: Live, epoch: int) -> Report | None:
        """On a copy of the model in training. None where it was done before."""
        one = self._analysis(use, plugin, live, epoch)
        return None if one.finished() is not None else run_analyzer(one)

    def _analysis(
        self, use: AnalyzerUse, plugin: Plugin, live: Live | None = None, epoch: int | None = None
    ) -> Analysis:
        out = self._folder.analysis(use.instance_name)
        return Analysis(
            self._models.workbench(use, live),
            plugin,
            out if epoch is None else out / f"epoch-{epoch:04d}",
            parameters=use.model_dump(exclude={"use", "name"}),
            peers=self._peers(use),
            run=self._models.view(use),
            step=epoch or 0,
        )

    def _peers(self, use: AnalyzerUse) -> dict[str, Any]:
        """The analyzers of this recipe by registered name; the one that looks at the same models comes first."""
        alike = sorted(self._uses, key=lambda pair: (pair[0].stage, pair[0].dataset) == (use.stage, use.dataset))
        return {plugin.component.name: plugin.instance for _, plugin in alike}


@dataclass
class RunModels:
    """The models of a run by stage, opened once for all its analyses, and one cache."""

    loaded: Loaded
    folder: RunFolder
    seed: int
    display: Display
    cache: Cache = field(default_factory=Cache.of_user)
    _given: dict[str, Given] = field(default_factory=dict)
    _benches: dict[tuple[str | None, ...], Workbench] = field(default_factory=dict)
    _images: dict[tuple[str | None, ...], Workbench] = field(default_factory=dict)

    @cached_property
    def board(self) -> Board:
        """TensorBoard for the analyses of finished models."""
        return Board(self.folder.path / "tb" / "analyses", self.display.warn)

    def close(self) -> None:
        """End what writes in the background."""
        if "board" in vars(self):
            self.board.close()

    def workbench(self, use: AnalyzerUse, live: Live | None = None) -> Workbench:
        """What the analysis `use` looks at. `live` is the model in training, of which a copy is looked at."""
        stage = self.loaded.recipe.stage(use.stage or self.loaded.recipe.stages[-1].name)
        images = self._bench_of_images(stage, use)
        for given in self._given.values():
            given.restore()  # one that the last analysis had by its stage's name, and changed
        if live is not None:  # its stage logs the metrics
            return images.with_models(self._models(stage, use, live), None)
        key = (stage.name, use.source, use.dataset, use.baseline)
        if key not in self._benches:
            board = self.board if "tensorboard" in self.loaded.recipe.trackers else None
            self._benches[key] = images.with_models(self._models(stage, use, None), board)
        return self._benches[key]

    def view(self, use: AnalyzerUse) -> RunView:
        """The run as the analysis `use` sees it."""
        recipe = self.loaded.recipe
        return RunView(recipe, use.stage or recipe.stages[-1].name, self.folder, self.stage)

    def _models(self, stage: schema.Stage, use: AnalyzerUse, live: Live | None) -> dict[str, Given]:
        models = {}
        source = self.stage(use.source) if use.source is not None else self.start(stage)
        if source is not None:
            models["source"] = source
        models["target"] = self.stage(stage.name) if live is None else _copy(live, stage.name)
        if use.baseline is not None:
            models["baseline"] = self.stage(use.baseline)
        return models

    def _bench_of_images(self, stage: schema.Stage, use: AnalyzerUse) -> Workbench:
        """A bench without models. The stage and the source say which classes the images are labelled in."""
        key = (stage.name, use.source, use.dataset)
        if key not in self._images:
            recipe = self.loaded.recipe
            cuda = recipe.device in ("auto", "cuda") and torch.cuda.is_available()
            self._images[key] = Workbench(
                models={},
                datasets=recipe.datasets,
                source_data=use.dataset,
                target_data=stage.dataset,
                seed=self.seed,
                display=self.display,
                device=torch.device("cuda" if cuda else "cpu"),
                images=self.images(stage, use.source or stage.start, recipe.datasets),
                cache=self.cache,
            )
        return self._images[key]

    def images(
        self,
        stage: schema.Stage,
        source: str | None,
        datasets: Mapping[str, schema.Dataset],
        *,
        skip_bad: bool = False,
    ) -> Callable[[str, str], StageImages]:
        """(role or name, data set) -> as which stage saw it a data set is looked at in an analysis of `stage`.

        As the stage itself if it trained on it, else as the nearest of those that it starts from. For source images
        `source` comes first, which made the source model. What plugins of the stage opened is as they were given it.
        """
        chain, before = self._chain(stage.name), self._chain(source)
        seen: dict[str, StageImages] = {}

        def find(data: str, name: str) -> StageImages:
            opened = data != "source" and name != stage.dataset and name in _options(stage)
            owners = (one for one in ([*before, *chain] if data == "source" else chain) if one.dataset == name)
            owner = stage if opened else next(owners, stage)
            if owner.name not in seen:
                entry = self._recorded.get(owner.name, {})
                seen[owner.name] = StageImages(
                    owner,
                    datasets,
                    self.seed,
                    self.loaded.corruptions,
                    skip_bad,
                    trained_on=entry.get("fingerprints", {}),
                    warn=self.display.warn,
                    fold=fold_of(self.loaded.recipe, owner),
                )
            return seen[owner.name]

        return find

    @property
    def _recorded(self) -> dict[str, Any]:
        """What result.json says of the stages that are finished."""
        there = (self.folder.path / "result.json").is_file()
        found: dict[str, Any] = self.folder.result.get("stages", {}) if there else {}
        return found

    def _chain(self, name: str | None) -> list[schema.Stage]:
        """The stage of that name, the one it starts from, and so on; empty where there is none."""
        stages = {stage.name: stage for stage in self.loaded.recipe.stages}
        found = []
        while name in stages:
            found.append(stages.pop(name))
            name = found[-1].start
        return found

    def stage(self, name: str) -> Given:
        """The finished model of a stage."""
        folder = self.folder.model(name)
        return self._remember(f"stage {name}", lambda: _opened(folder, name), folder)

    def start(self, stage: schema.Stage) -> Given | None:
        """The model that a stage's training started from; None where that was scratch, or where no run says it.

        A stage that only edits has the source of the training before it.
        """
        trained = trained_stage(self.loaded.recipe, stage)
        if trained.trains and any(other.name == trained.start for other in self.loaded.recipe.stages):
            return self.stage(trained.start)
        spec = source_of(self.loaded.recipe, trained, self.folder.model)
        if spec is None:
            return None
        if isinstance(spec, Path):
            path = spec
            return self._remember(str(path), lambda: open_model(path), path)
        weights = Path(spec.weights) if spec.weights else None
        label = f"{spec.name}, {weights.name if weights else 'pretrained'}"
        start = weights or "pretrained"
        return self._remember(label, lambda: build(spec, weights=start, source_classes=None, classes=None))  # type: ignore[arg-type]

    def _remember(self, label: str, opening: Callable[[], Live], folder: Path | None = None) -> Given:
        return self._given.setdefault(label, Given(label, opening, folder=folder))


def _options(stage: schema.Stage) -> set[str]:
    """The texts among the options of a stage's plugins: data sets that they open are named there."""
    uses = [use for place in places_in(schema.Stage) for use in place.uses(stage)]
    return {value for use in uses for value in use.options.values() if isinstance(value, str)}


def _opened(folder: Path, stage: str) -> Live:
    if not folder.is_dir():
        raise InputError(f'the stage "{stage}" has no finished model yet')
    return open_model(folder)


def _copy(live: Live, stage: str) -> Given:
    model, head = live
    return Given(f"stage {stage}, in training", lambda: (copy.deepcopy(model), head), live=True)

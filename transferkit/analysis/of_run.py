"""The workbench of a recipe's analyses: which models and data sets of the run each of them looks at."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from transferkit.analysis.cache import Cache
from transferkit.analysis.run_view import RunView
from transferkit.analysis.workbench import Given, Workbench
from transferkit.errors import InputError
from transferkit.folder import RunFolder
from transferkit.model import SourceHead, TransferModel, build
from transferkit.model_folder import open_model
from transferkit.recipe import Loaded, schema
from transferkit.training.progress import Display

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Live = tuple[TransferModel, SourceHead | None]


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
    def board(self) -> SummaryWriter:
        """TensorBoard for the analyses of finished models."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder.path / "tb" / "analyses"))

    def close(self) -> None:
        """End what writes in the background."""
        if "board" in vars(self):
            self.board.close()

    def workbench(self, use: schema.AnalyzerUse, live: Live | None = None) -> Workbench:
        """What the analysis `use` looks at. `live` is the model in training, of which a copy is looked at."""
        stage = self.loaded.recipe.stage(use.stage or self.loaded.recipe.stages[-1].name)
        images = self._bench_of_images(stage, use)
        for given in self._given.values():
            given.restore()  # one that the last analysis had by its stage's name, and changed
        if live is not None:  # its stage logs the metrics
            return images.with_models(self._models(stage, use, live), None)
        key = (stage.name, use.source, use.dataset, use.baseline)
        if key not in self._benches:
            self._benches[key] = images.with_models(self._models(stage, use, None), self.board)
        return self._benches[key]

    def view(self, use: schema.AnalyzerUse) -> RunView:
        """The run as the analysis `use` sees it."""
        recipe = self.loaded.recipe
        return RunView(recipe, use.stage or recipe.stages[-1].name, self.folder, self.stage)

    def _models(self, stage: schema.Stage, use: schema.AnalyzerUse, live: Live | None) -> dict[str, Given]:
        models = {}
        source = self.stage(use.source) if use.source is not None else self.start(stage)
        if source is not None:
            models["source"] = source
        models["target"] = self.stage(stage.name) if live is None else _copy(live, stage.name)
        if use.baseline is not None:
            models["baseline"] = self.stage(use.baseline)
        return models

    def _bench_of_images(self, stage: schema.Stage, use: schema.AnalyzerUse) -> Workbench:
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
                corruptions=self.loaded.corruptions,
                cache=self.cache,
            )
        return self._images[key]

    def stage(self, name: str) -> Given:
        """The finished model of a stage."""
        folder = self.folder.model(name)
        return self._remember(f"stage {name}", lambda: _opened(folder, name), folder)

    def start(self, stage: schema.Stage) -> Given | None:
        """The model that a stage starts from; None where it starts from scratch."""
        if stage.start == "scratch":
            return None
        if any(other.name == stage.start for other in self.loaded.recipe.stages):
            return self.stage(stage.start)
        if stage.start != "pretrained":
            path = Path(stage.start)
            return self._remember(str(path), lambda: open_model(path), path)
        spec = stage.model or self.loaded.recipe.model
        weights = Path(spec.weights) if spec.weights else None
        label = f"{spec.name}, {weights.name if weights else 'pretrained'}"
        start = weights or "pretrained"
        return self._remember(label, lambda: build(spec, weights=start, source_classes=None, classes=None))  # type: ignore[arg-type]

    def _remember(self, label: str, opening: Callable[[], Live], folder: Path | None = None) -> Given:
        return self._given.setdefault(label, Given(label, opening, folder=folder))


def _opened(folder: Path, stage: str) -> Live:
    if not folder.is_dir():
        raise InputError(f'the stage "{stage}" has no finished model yet')
    return open_model(folder)


def _copy(live: Live, stage: str) -> Given:
    model, head = live
    return Given(f"stage {stage}, in training", lambda: (copy.deepcopy(model), head), live=True)

"""What an analyzer sees: models by role, data sets, cached predictions, maps, composites and a folder.

The same object in a run, on a schedule while a model trains, and in an audit of saved models. It never
changes a run: models are frozen copies in eval mode, and random numbers have keys of their own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transferkit.analysis.composites import Batches, Composite, Composites, Pixels, compose
from transferkit.analysis.predictions import Predictions
from transferkit.analysis.workbench import Given, Workbench
from transferkit.data.randomness import numpy_rng
from transferkit.data.samples import Samples
from transferkit.errors import InputError
from transferkit.model.digest import head_digest
from transferkit.model.passes import fast_batch
from transferkit.model.wrapper import Output, SourceHead, TransferModel
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transferkit.analysis.maps import ActivationMaps
    from transferkit.recipe.schema import Recipe
    from transferkit.runs.folder import RunFolder
    from transferkit.training.progress import Bar

HISTORY = ("metrics.jsonl", "early_steps.jsonl")


@dataclass
class AnalysisSession:
    """One analysis: its models, its data, where it writes."""

    workbench: Workbench
    out: Path
    name: str = "analysis"
    peers: Mapping[str, Any] = field(default_factory=dict)
    run: RunView | None = None

    @property
    def seed(self) -> int:
        """The seed of the run or audit."""
        return self.workbench.seed

    @property
    def device(self) -> torch.device:
        """Where models and batches are."""
        return self.workbench.device

    # -- models -----------------------------------------------------------------------------------------------

    def has(self, role: str) -> bool:
        """Whether there is a model in that role: source (M^s), target (M^t), baseline (M^b)."""
        return role in self.workbench.models

    def model(self, role: str = "target") -> TransferModel:
        """The model of a role: frozen, in eval mode. Raises InputError for a role this analysis does not have."""
        return self.workbench.model(role)

    def describe(self, role: str) -> str:
        """The model of a role in one line: what was given, architecture, input size."""
        model = self.model(role)
        height, width = model.preprocessing.input_size
        return f"{self.workbench.given(role).label} ({model.architecture}, {height}x{width} pixels)"

    def model_folder(self, role: str = "target") -> Path | None:
        """The folder that the model of a role was opened from; None for a weights file, a name or a live model."""
        return self.workbench.given(role).folder

    def source_head(self) -> SourceHead:
        """H(M^s): the source's classifier, which on M^t's features makes the head swap M^st.

        The source model's own; a ridge regression on its features where it has none; without a source model
        the head kept beside the target. Raises InputError where there is none of these.
        """
        return self.workbench.source_head

    @property
    def source_head_is_probe(self) -> bool:
        """Whether the source model came without a classifier, so that one was fitted to its features."""
        return self.workbench.source_head_is_probe

    def digest(self, role: str) -> str:
        """The content hash of a model: weights, architecture, preprocessing. `head_swap` adds H(M^s) to M^t."""
        if role == "head_swap":
            return f"{self.workbench.given('target').backbone}+{head_digest(self.source_head())}"
        return self.workbench.given(role).digest

    # -- data -------------------------------------------------------------------------------------------------

    def has_data(self, data: str) -> bool:
        """Whether this analysis has "source" or "target" images."""
        return self.workbench.data.get(data) is not None

    def dataset(self, data: str = "source") -> str:
        """The name of the data set that is "source" or "target" here. Raises InputError where there is none."""
        return self.workbench.dataset(data)

    def samples(self, data: str = "source", split: str | None = None, *, role: str = "target") -> Samples:
        """The images of a split with the preprocessing of a role's model, without augmentation.

        `data` is "source", "target" or a data set's name; labels are classes of the source model, of the target
        model, or of the data set itself. Without `split`: source images that are not for training if there are
        any, and the target's training images. Corruptions of the recipe are planted; `samples.planted` says where.
        """
        return self.workbench.samples(data, split, role)

    def predictions(
        self, model: str | TransferModel = "target", data: str = "source", split: str | None = None
    ) -> Predictions:
        """Features and logits of all images of a split from one pass, or from the cache.

        `model` is a role, or a model that the analyzer made (with the target's preprocessing).
        """
        return self.workbench.predictions(model, data, split)

    def cached(
        self, facts: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]], *, shared: bool = False
    ) -> dict[str, Tensor]:
        """Any tensors worth keeping, under the facts they follow from: JSON values that name everything.

        Put `session.digest(role)` in for a model and `session.data_digest(data)` for images. `shared`: for whoever
        gives the same facts, whatever the analysis is called; without it, for analyses of this name. Nothing of a
        model that still trains is kept on disk.
        """
        bench = self.workbench
        live = any(given.live for given in bench.models.values())
        whose = {} if shared else {"analysis": self.name}
        return bench.cache.get({**whose, **facts}, compute, keep=not live, warn=bench.display.warn)

    def data_digest(self, data: str = "source", split: str | None = None) -> str:
        """The content hash of a split's images."""
        return self.workbench.samples_digest(self.workbench.samples(data, split, "target"), data)

    # -- the run it belongs to ----------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of the run; None in an audit of models that were given."""
        return None if self.run is None else self.run.recipe

    @property
    def stage_name(self) -> str | None:
        """The stage whose model is the target; None in an audit."""
        return None if self.run is None else self.run.stage

    def history(self, stage: str | None = None) -> list[dict[str, Any]]:
        """How a stage's training went, by default this analysis's: one record per epoch (or early step) and split.

        They are the lines of metrics.jsonl and early_steps.jsonl, by step; none in an audit. Raises InputError for a
        stage that the recipe does not have.
        """
        return [] if self.run is None else self.run.history(stage)

    def stage_model(self, stage: str) -> TransferModel:
        """The finished model of any stage: frozen, in eval mode. Raises InputError where there is none."""
        if self.run is None:
            raise InputError(f'an audit has no stages, so there is no model of a stage "{stage}"')
        return self.workbench.placed(self.run.given(stage).opened[0])

    # -- images made for the analysis -------------------------------------------------------------------------

    def composites(
        self, classes: Iterable[int], *, pool: Sequence[int], scale: float = 0.4, total: int = 100
    ) -> Composites:
        """Target images pasted on the source images of these classes, about `total` of each class.

        `pool` holds the overlays as indices into `samples("target", "val")` (or what stands in for it, see
        `overlays`). Images are made when asked for; nothing is written.
        """
        backgrounds, overlays = self.samples("source"), self.overlays()
        return compose(backgrounds, overlays, classes=classes, pool=pool, scale=scale, total=total, seed=self.seed)

    def composites_digest(self, items: Iterable[Composite]) -> str:
        """The content hash of composites: what each is, the canvas, and the images that both halves come from."""
        facts = [
            [astuple(item) for item in items],
            self.model("target").preprocessing.to_json(),
            self.data_digest("source"),
            self.data_digest("target", self.overlay_split()),
        ]
        return blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()

    def overlays(self) -> Samples:
        """The target images that are pasted: validation images, or training images where there are no others."""
        return self.samples("target", self.overlay_split())

    def overlay_split(self) -> str:
        """The split that `overlays` takes."""
        return next(split for split in ("val", "test", "train") if self.workbench.part("target", split) is not None)

    @torch.no_grad()
    def answers(self, role: str, pictures: Iterable[Pixels], layers: Sequence[str] = ()) -> Iterator[Output]:
        """What a role's model makes of 8-bit pictures (H, W, 3): logits, features and taps, batch by batch in order.

        `layers` are tapped as well, in a copy of the model.
        """
        model, batches, waiting = self.model(role), self.batches(role), iter(pictures)
        if layers:
            model = copy.deepcopy(model)
            model.tap(layers)
        while some := list(islice(waiting, fast_batch(self.device))):
            yield model(batches(some))

    def batches(self, role: str) -> Batches:
        """A function from 8-bit pictures (H, W, 3) to the input (n, C, h, w) of a role's model."""
        return Batches(self.model(role).preprocessing, self.device)

    def maps(self, role: str = "target", *, method: str = "gradcam", layer: str | None = None) -> ActivationMaps:
        """Class-activation maps of a role's model. Raises InputError, with the reason, for models that have none."""
        from transferkit.analysis.maps import ActivationMaps

        return ActivationMaps(self.model(role), method=method, layer=layer)

    # -- the rest ---------------------------------------------------------------------------------------------

    def peer(self, name: str) -> Any | None:
        """The analyzer of that registered name in the same run or audit, with its options; None if there is none."""
        return self.peers.get(name)

    def rng(self, *parts: str | int) -> np.random.Generator:
        """A generator that depends on the seed and `parts` alone."""
        return numpy_rng(self.seed, "analysis", *parts)

    def progress(self, total: int, description: str) -> AbstractContextManager[Bar]:
        """A progress display: `with session.progress(n, "…") as bar: bar.advance(1)`."""
        return self.workbench.display.task(total, description)

    @contextmanager
    def picture(self, name: str, width: float = 6.4, height: float = 4.0) -> Iterator[tuple[Figure, Axes]]:
        """A matplotlib figure and its axes, saved as `out/NAME.svg` and shown in TensorBoard. Size in inches."""
        from transferkit.analysis.plots import picture

        path = self.out / f"{name}.svg"
        with picture(path, width, height, board=self.workbench.board, tag=f"{self.name}/{name}") as drawn:
            yield drawn


@dataclass
class AnalyzeOffer:
    """What `analyze` may ask for."""

    session: AnalysisSession


@dataclass(frozen=True)
class RunView:
    """A run as one of its analyses sees it; `stage` is the one that the analysis is about."""

    recipe: Recipe
    stage: str
    folder: RunFolder
    open_stage: Callable[[str], Given]

    def given(self, stage: str) -> Given:
        """The finished model of a stage. Raises InputError for a stage the recipe lacks or that has not finished."""
        self._refuse_unknown(stage)
        return self.open_stage(stage)

    def history(self, stage: str | None = None) -> list[dict[str, Any]]:
        """The records of a stage in metrics.jsonl and early_steps.jsonl, by step. Raises InputError."""
        name = stage or self.stage
        self._refuse_unknown(name)
        files = (self.folder.path / file for file in HISTORY)
        found = (record for path in files if path.is_file() for record in _records(path) if record["stage"] == name)
        return sorted(found, key=lambda record: int(record["step"]))

    def _refuse_unknown(self, stage: str) -> None:
        names = [known.name for known in self.recipe.stages]
        if stage not in names:
            raise InputError(f'the recipe has no stage called "{stage}"; {did_you_mean(stage, names)}')


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of lines. A last line may be cut short; any other that is none is an InputError."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for place, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            whole = isinstance(record["stage"], str) and isinstance(record["step"], int)
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if whole:
            yield record
        elif place < len(lines):
            raise InputError(f"{path.name} is damaged: line {place} is no record of a stage and a step")

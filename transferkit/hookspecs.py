"""Every hook of transferkit, in one file.

*Installed level*: one question, asked once per process: what do you offer? A plugin module answers with
functions marked `@transferkit.hookimpl`.

*Run level*: the methods of a plugin class. A method with a hook's name is its implementation; no decorator.
Its argument names are requests: ask for any of the arguments below, in any order, and leave out the rest.
The core computes what is asked for once and shares it. Plugins return values; the core makes every change.

Beside its hooks a plugin class may say a few things about itself: `Declared`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pluggy

from transferkit.report import Headline, Metric

if TYPE_CHECKING:
    import numpy as np
    import typer
    from PIL import Image
    from torch import Tensor, nn

    from transferkit.analysis.detector_session import DetectorSession
    from transferkit.analysis.session import AnalysisSession
    from transferkit.data.contents import Contents
    from transferkit.data.streams import Combined, Stream
    from transferkit.model.wrapper import TransferModel
    from transferkit.plugins.registry import Register
    from transferkit.recipe.schema import Stage
    from transferkit.report import Report
    from transferkit.training.anchors import Anchor
    from transferkit.training.edit_session import EditSession
    from transferkit.training.workspace import Session, Workspace

PROJECT = "transferkit"
# requests that need a model to start from
REFERENCE = {"reference", "reference_taps", "reference_features", "source_logits"}
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class InstalledHooks:
    """What an installed distribution offers. Installing never activates anything; a recipe does."""

    @hookspec
    def transferkit_register(self, register: Register) -> None:
        """Hand over plugin classes by kind and name: `register.regularizer("bss", BSS)`."""

    @hookspec
    def transferkit_commands(self, cli: typer.Typer) -> None:
        """Add verbs to the command line."""


class RunHooks:
    """What a plugin named in a recipe may do, in the order in which a run calls it."""

    @hookspec
    def check(self, stage: Stage) -> Iterable[str]:
        """When the recipe is validated: sentences about options that contradict the stage. Must not import torch."""

    @hookspec
    def read(self, split: str) -> Contents | None:
        """A reader's: what a split (train, val, test) of its data set holds, or None. Must not import torch."""

    @hookspec
    def adapt(self, model: TransferModel, reference: TransferModel) -> Mapping[str, nn.Module]:
        """Before taps, optimizer and wrapping: {layer: what takes its place}; its `merged()` is a plain layer again."""

    @hookspec
    def taps(self, model: TransferModel) -> Iterable[str]:
        """Before wrapping: names of the inner layers whose outputs this plugin wants."""

    @hookspec
    def parameters(self, model: TransferModel, session: Workspace) -> nn.Module:
        """Before the optimizer: a module of the plugin's own, which trains; its penalty and loss have it as `own`."""

    @hookspec
    def setup(self, session: Session) -> None:
        """Once, when model, data and reference are ready and before any saved state is loaded."""

    @hookspec
    def anchors(self, model: TransferModel, head: nn.Module, reference: TransferModel) -> Iterable[Anchor]:
        """Once: pulls on parameters, which the core applies once per optimizer step, before clipping."""

    @hookspec
    def penalty(
        self,
        features: Tensor,
        logits: Tensor,
        labels: Tensor,
        images: Tensor,
        ids: Sequence[str],
        groups: Tensor,
        taps: Mapping[str, Tensor],
        reference_taps: Mapping[str, Tensor],
        reference_features: Tensor,
        source_logits: Tensor,
        own: nn.Module,
        model: TransferModel,
        head: nn.Module,
        reference: TransferModel,
        step: int,
        epoch: int,
        progress: float,
    ) -> Tensor | Mapping[str, Tensor]:
        """Each micro-batch, in float32 with autocast off: a scalar to add to the loss, or {term: scalar}."""

    @hookspec
    def streams(self, session: Workspace) -> Mapping[str, Stream]:
        """Before the loaders: what to train on besides the stage's own data set. At most one curriculum."""

    @hookspec
    def mix(self, step: int, epoch: int, progress: float) -> Mapping[str, float]:
        """Before each step: {stream: share of the batch}. A function of its arguments alone."""

    @hookspec
    def select(self, labels: np.ndarray, classes: list[str], split: str, rng: np.random.Generator) -> Iterable[int]:
        """Once per data set and split: the indices to corrupt. Without it, every sample is."""

    @hookspec
    def corrupt(
        self, image: Image.Image, label: int, classes: list[str], rng: np.random.Generator
    ) -> Image.Image | tuple[Image.Image, int]:
        """In the data worker, after the geometric augmentation and before normalisation: the changed image."""

    @hookspec
    def manifest(
        self, size: tuple[int, int], label: int, classes: list[str], rng: np.random.Generator
    ) -> Mapping[str, Any]:
        """Once per corrupted sample: what `corrupt` will do to it, as columns of corruptions.csv."""

    @hookspec
    def augment(self, image: Image.Image, label: int, classes: list[str], rng: np.random.Generator) -> Image.Image:
        """In the data worker, in training only, after the crop: the image changed anew in every epoch and draw."""

    @hookspec
    def transform_batch(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Before the forward pass: new images and (soft) labels. For mixup and its relatives."""

    @hookspec
    def combine(
        self,
        images: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        step: int,
        epoch: int,
        progress: float,
        rng: np.random.Generator,
    ) -> Combined:
        """After `transform_batch`: the streams of a curriculum made into what the model sees, with loss weights."""

    @hookspec
    def transform_features(self, features: Tensor) -> Tensor:
        """In training only, between backbone and head: changed features, (n, d). Penalties see the original ones."""

    @hookspec
    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        features: Tensor,
        ids: Sequence[str],
        groups: Tensor,
        class_counts: Tensor,
        own: nn.Module,
        step: int,
        epoch: int,
        progress: float,
    ) -> Tensor:
        """In place of the task's loss, in float32 with autocast off: the loss of each image, (n,)."""

    @hookspec
    def gradients(
        self,
        gradients: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        model: TransferModel,
        reference: TransferModel,
        step: int,
        epoch: int,
        progress: float,
    ) -> Mapping[str, Tensor]:
        """After unscaling and anchors, before clipping: {parameter: the gradient to put in place of its own}."""

    @hookspec
    def project(
        self,
        parameters: Mapping[str, Tensor],
        previous: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        model: TransferModel,
        reference: TransferModel,
        step: int,
        lr: float,
    ) -> Mapping[str, Tensor]:
        """Before training (step 0, no gradients) and after each optimizer step: {parameter: its value from now on}."""

    @hookspec
    def score(self, logits: Tensor, labels: Tensor, groups: Tensor) -> Mapping[str, float]:
        """A metric's, in evaluation, with all images of a data set: {name: number}, which may select the best epoch."""

    @hookspec
    def step_end(
        self, session: Session, step: int, losses: Mapping[str, Tensor]
    ) -> Mapping[str, float | Tensor] | None:
        """After the optimizer's step: metrics to log, or nothing."""

    @hookspec
    def epoch_end(self, session: Session, epoch: int, metrics: Mapping[str, Any]) -> Mapping[str, float] | None:
        """After the evaluation and before the checkpoint: metrics to log, or nothing."""

    @hookspec
    def edit(self, model: TransferModel, reference: TransferModel, session: EditSession) -> Mapping[str, Tensor]:
        """On a finished model: {parameter: its new value}. The core evaluates before and after and writes both down."""

    @hookspec
    def fit(self, session: DetectorSession) -> nn.Module:
        """A detector's, in `interference`: a module (features, logits, taps) -> scores (n,), saved with the model."""

    @hookspec
    def restore(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """A detector's, when a model folder is opened: the module that `fit` gave, from its state_dict's tensors."""

    @hookspec
    def analyze(self, session: AnalysisSession) -> Report:
        """At the end, on schedule, or standalone on saved models: what was found."""

    @hookspec
    def teardown(self, session: Session, error: BaseException | None) -> None:
        """Always, last; `error` says what ended the stage, if anything did."""


@dataclass(frozen=True)
class Declared:
    """What a plugin class may say of itself beside its hooks: class variables of these names, with these defaults."""

    conflicts: frozenset[str] = frozenset()
    """Keys of a stage's optimizer that do what this plugin does: `weight_decay`. Both together are refused."""
    metrics: Sequence[Metric] = ()
    """An analyzer's or metric's: every number that it returns, in order; of texts no more than the name is known."""
    headlines: Sequence[Headline] = ()
    """An analyzer's: the question that it answers, and which number stands for the answer on the report's first screen,
    with what it means; of several the first whose numbers were measured."""
    words: Mapping[str, str] | None = None
    """An analyzer's: terms of its texts that a newcomer does not know, and what they mean, for the report page."""
    standard_audit: float | None = None
    """An analyzer's: its place among those that an audit runs unless it is told which; without one it is not run.
    A detector's: its place in the table of `interference`, in the same way."""
    needs_clean: bool = False
    """A detector's: whether it is fitted on clean target images too, which then set no threshold."""
    takes_tables: bool = False
    """An analyzer's or metric's: whether it can look at data sets that are tables of numbers."""
    in_place: bool = False
    """A corruption's or augmentation's: whether it changes the very image that it is given, which saves a copy."""
    freezes: bool = False
    """An adapter's: whether whatever is not its own stays as it is, the head excepted."""
    merges: bool = True
    """An adapter's: whether each of its layers has a `merged()`, which gives a plain layer with the same outputs."""

    @classmethod
    def of(cls, plugin: type) -> Declared:
        """What that class says."""
        said: dict[str, Any] = {one.name: getattr(plugin, one.name, one.default) for one in fields(cls)}
        metrics = [Metric(one, one) if isinstance(one, str) else one for one in said["metrics"]]
        return cls(**said | {"metrics": metrics})

    @property
    def metric_keys(self) -> list[str]:
        """The names in report.json of all its metrics."""
        return [key for metric in self.metrics for key in metric.keys]

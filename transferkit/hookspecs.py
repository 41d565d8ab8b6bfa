"""Every hook of transferkit, in one file.

*Installed level*: one question, asked once per process: what do you offer? A plugin module answers with
functions marked `@transferkit.hookimpl`.

*Run level*: the methods of a plugin class. A method with a hook's name is its implementation; no decorator.
Its argument names are requests: ask for any of the arguments below, in any order, and leave out the rest.
The core computes what is asked for once and shares it. Plugins return values; the core makes every change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import numpy as np
    import typer
    from PIL import Image
    from torch import Tensor, nn

    from transferkit.analysis.session import AnalysisSession
    from transferkit.data.streams import Combined, Stream
    from transferkit.model import TransferModel
    from transferkit.recipe.schema import Stage
    from transferkit.registry import Register
    from transferkit.report import Report
    from transferkit.training.anchors import Anchor
    from transferkit.training.session import Session

PROJECT = "transferkit"
REFERENCE = {"reference", "reference_taps", "reference_features"}  # requests that need a model to start from
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
    def taps(self, model: TransferModel) -> Iterable[str]:
        """Before wrapping: names of the inner layers whose outputs this plugin wants."""

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
        taps: Mapping[str, Tensor],
        reference_taps: Mapping[str, Tensor],
        reference_features: Tensor,
        model: TransferModel,
        head: nn.Module,
        reference: TransferModel,
        step: int,
        epoch: int,
        progress: float,
    ) -> Tensor | Mapping[str, Tensor]:
        """Each micro-batch, in float32 with autocast off: a scalar to add to the loss, or {term: scalar}."""

    @hookspec
    def streams(self, session: Session) -> Mapping[str, Stream]:
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
    def step_end(
        self, session: Session, step: int, losses: Mapping[str, Tensor]
    ) -> Mapping[str, float | Tensor] | None:
        """After the optimizer's step: metrics to log, or nothing."""

    @hookspec
    def epoch_end(self, session: Session, epoch: int, metrics: Mapping[str, Any]) -> Mapping[str, float] | None:
        """After the evaluation and before the checkpoint: metrics to log, or nothing."""

    @hookspec
    def analyze(self, session: AnalysisSession) -> Report:
        """At the end, on schedule, or standalone on saved models: what was found."""

    @hookspec
    def teardown(self, session: Session, error: BaseException | None) -> None:
        """Always, last; `error` says what ended the stage, if anything did."""

"""A model of 0.4 million parameters, a dozen images and a session around them: real parts, made in milliseconds.

Everything is a function of its arguments; the global random generators are left as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.data import world
from transferkit.data.contents import Contents, Source
from transferkit.data.randomness import numpy_rng, seeded
from transferkit.data.samples import Samples
from transferkit.data.transforms import transforms
from transferkit.model.preprocessing import Preprocessing
from transferkit.model.wrapper import SourceHead, TransferModel, reference_of
from transferkit.recipe.schema import Dataset, Stage
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

SIZE = 32
TARGET_CLASSES = ("cat", "dog", "owl")
RESNET = "test_resnet"


def tiny_images(n: int = 8, seed: int = 0) -> Tensor:
    """(n, 3, 32, 32) normalised images; the first m of n are the same for every n."""
    return torch.stack(
        [torch.from_numpy(numpy_rng(seed, "tiny image", i).standard_normal((3, SIZE, SIZE))) for i in range(n)]
    ).float()


def tiny_labels(n: int = 8, classes: int = len(TARGET_CLASSES)) -> Tensor:
    """(n,) labels 0, 1, 2, 0, 1, 2, …"""
    return torch.arange(n) % classes


def tiny_model(
    classes: Iterable[str] = TARGET_CLASSES, *, name: str = RESNET, seed: int = 0, **options: Any
) -> TransferModel:
    """A timm model with random weights for 32-pixel images; `options` are passed to timm.create_model."""
    labels = list(classes)
    with seeded(seed, "tiny model", name):
        net = timm.create_model(name, num_classes=len(labels), **options)
    preprocessing = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")
    return TransferModel(net, classes=labels, preprocessing=preprocessing, architecture=name, options=options)


def tiny_source_head(width: int, seed: int = 0) -> SourceHead:
    """A classifier of the drawn source world's classes on features of that width."""
    rng = numpy_rng(seed, "tiny source head")
    names = list(world.SOURCE_CLASSES)
    weight = torch.from_numpy(rng.standard_normal((len(names), width))).float() / width**0.5
    return SourceHead(weight, torch.zeros(len(names)), names)


def tiny_source(classes: Iterable[str] = TARGET_CLASSES, n: int = 12) -> Source:
    """An in-memory data set of n noise images; the colour of the ground is the class's."""
    names = list(classes)
    labels: NDArray[np.int64] = np.arange(n, dtype=np.int64) % len(names)
    ids = [f"{names[label]}/{i}.png" for i, label in enumerate(labels)]

    def read(index: int) -> Image.Image:
        ground = numpy_rng("tiny ground", int(labels[index])).integers(40, 216, 3)
        noise = numpy_rng("tiny noise", index).integers(-40, 40, (SIZE, SIZE, 3))
        return Image.fromarray((ground + noise).astype(np.uint8))

    contents = Contents(names, labels, ids, read, lambda: b"tiny")
    return Source(names, labels, ids, contents, np.arange(n, dtype=np.int64))


@dataclass
class TinySession:
    """What `setup`, `step_end`, `epoch_end` and `teardown` may ask of a session."""

    model: TransferModel
    reference: TransferModel | None
    source_head: SourceHead
    train_samples: Samples
    validation_samples: Samples
    stage: Stage
    out: Path
    cache: Path
    seed: int = 0
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = torch.device("cpu")
        self.classes = self.model.classes
        self.state = SimpleNamespace(step=0, epoch=0, batch=1)
        self.passes_per_epoch = self.updates_per_epoch = 1
        self.epochs_done = 0.0
        self.total_steps, self.total_epochs = 4, 1

    def rng(self, *parts: str | int) -> np.random.Generator:
        """A generator that depends on the seed, the stage and `parts` alone."""
        return numpy_rng(self.seed, self.stage.name, *parts)

    def open_samples(self, dataset: str, split: str, classes: list[str] | None = None) -> Samples:
        """A dozen images of another data set, whatever it is called; their classes are the model's."""
        return _samples(self.model, split, 12, dataset)

    def warn(self, text: str) -> None:
        """Keep the warning in `warnings`."""
        self.warnings.append(text)

    def cached(self, facts: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What `compute` gave for these facts, kept in the folder `cache`."""
        return Cache(self.cache / "results").get(facts, compute, warn=self.warn)

    def progress(self, total: int, description: str) -> AbstractContextManager[Any]:
        """A progress display that shows nothing."""
        return nullcontext(SimpleNamespace(advance=lambda count=1: None))


def tiny_session(
    folder: Path, *, model: TransferModel | None = None, taps: Callable[[TransferModel], Iterable[str]] | None = None
) -> TinySession:
    """A session around a model that has moved a little from its reference, as after some training.

    `taps` names the layers to tap, before the reference is made; files go into `folder`.
    """
    model = model if model is not None else tiny_model()
    if taps is not None:
        model.tap(taps(model))
    source_head = tiny_source_head(model.num_features)
    reference = reference_of(model, source_head)
    _move(model)
    train, validation = _samples(model, "train", 12), _samples(model, "val", 6)
    stage = Stage.model_validate({"name": "tiny", "start": "pretrained", "dataset": "tiny", "epochs": 1})
    return TinySession(model, reference, source_head, train, validation, stage, folder / "out", folder / "cache")


def tiny_analysis(folder: Path, *, architecture: str = RESNET) -> AnalysisSession:
    """What `analyze` sees: tiny models in the roles source, target and baseline, and drawn images of both kinds."""
    datasets = {
        kind: Dataset.model_validate({"world": {"kind": kind, "train": 2, "val": 2, "size": SIZE}})
        for kind in ("target", "source")
    }
    source = tiny_model(world.SOURCE_CLASSES, name=architecture, seed=0)
    roles = {"source": source}
    for seed, role in enumerate(("target", "baseline")):
        roles[role] = tiny_model(world.TARGET_CLASSES, name=architecture, seed=seed)
    head = source.source_head()
    workbench = Workbench(
        models={role: Given(f"tiny {role}", partial(_given, model, head)) for role, model in roles.items()},
        datasets=datasets,
        source_data="source",
        target_data="target",
        seed=0,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=Cache(),
    )
    out = folder / "analysis"
    out.mkdir(parents=True)
    return AnalysisSession(workbench, out)


def _given(model: TransferModel, head: SourceHead) -> tuple[TransferModel, SourceHead | None]:
    return model, head


def _move(model: TransferModel) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = numpy_rng("tiny move", name).standard_normal(tuple(parameter.shape))
            parameter.add_(torch.as_tensor(noise, dtype=parameter.dtype), alpha=0.01)


def _samples(model: TransferModel, split: str, n: int, name: str = "tiny") -> Samples:
    pipeline = transforms(model.preprocessing, None)
    return Samples(name, split, tiny_source(model.classes, n), pipeline, seed=0, evaluation=pipeline)

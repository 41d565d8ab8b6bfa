"""From a model folder and settings to a service that is ready to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.serving.engine import Engine, choose
from transferkit.serving.intake import Intake
from transferkit.serving.metrics import Metrics
from transferkit.serving.parity import Parity
from transferkit.serving.predictor import Predictor, model_id
from transferkit.serving.service import LocalBackend, Service
from transferkit.serving.settings import Settings, batching

if TYPE_CHECKING:
    from transferkit.loaded import LoadedModel


def open_service(folder: Path, settings: Settings, note: Callable[[str], None]) -> Service:
    """Load the model, choose what computes it and check that it does. Raises InputError."""
    loaded, parity, engine = open_engine(folder, settings, note)
    predictor = Predictor(model_id(folder), loaded.classes, loaded.interference)
    metrics = metrics_of(predictor, engine.name)
    backend = LocalBackend(engine, batching(settings, engine.device), metrics)
    return Service(settings, predictor, intake_of(loaded, settings), backend, parity, metrics)


def open_engine(folder: Path, settings: Settings, note: Callable[[str], None]) -> tuple[LoadedModel, Parity, Engine]:
    """The model, the answers it must give, and what gives them. One thread per pass: passes run side by side."""
    import torch

    from transferkit.loaded import load

    torch.set_num_threads(1)
    loaded = load(folder)
    parity = Parity(loaded)
    return loaded, parity, choose(folder, loaded, settings, parity, note)


def metrics_of(predictor: Predictor, engine: str) -> Metrics:
    """Counters with a row for every source class that is watched."""
    interference = predictor.interference
    watched = [] if interference is None else [interference.source_classes[index] for index in interference.indices]
    return Metrics(predictor.model_id, engine, watched)


def intake_of(loaded: LoadedModel, settings: Settings) -> Intake:
    """Decoding with the model's own preprocessing."""
    return Intake(loaded.preprocess, max_pixels=settings.max_pixels, max_images=settings.max_images)

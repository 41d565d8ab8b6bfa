"""A tiny model with a made-up detector beside it: real files, nothing fitted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from transferkit.data.randomness import numpy_rng
from transferkit.deploy.interference import (
    Calibration,
    Guarantee,
    Interference,
    LingeringClass,
    Reduction,
    Score,
    write_interference,
)
from transferkit.model.folder import save_model
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.testing.tiny import tiny_model

SOURCE_CLASSES = ("shark", "espresso", "wheel", "daisy", "fence")
LINGERING = (1, 3)
SCORES = tuple(i / 100 for i in range(1, 20))  # the threshold for alpha 0.05 is the largest of 19 clean scores


def tiny_guarded(
    folder: Path,
    classes: Iterable[str] = ("ants", "bees"),
    *,
    seed: int = 0,
    detect_p: float = SCORES[-1],
    alpha: float | None = 0.05,
    named: Iterable[int] | None = None,
    reduction: Reduction = "sum",
) -> Path:
    """A model folder with a `refitted` detector for two of five made-up source classes; returns the folder."""
    model = tiny_model(classes, seed=seed)
    save_model(folder, model, None, {})
    detector = tiny_detector(model, Score("refitted", reduction), detect_p=detect_p, alpha=alpha, named=named)
    write_interference(folder, detector, tiny_detector_head(model.num_features))
    return folder


def tiny_detector(
    model: TransferModel,
    score: Score,
    *,
    detect_p: float = SCORES[-1],
    alpha: float | None = 0.05,
    named: Iterable[int] | None = None,
) -> Interference:
    """What `interference.json` says for the model."""
    return Interference(
        source_model={"name": "made up", "sha256": None},
        lingering=tuple(LingeringClass(index, SOURCE_CLASSES[index], 0, 0.3) for index in LINGERING),
        source_classes=SOURCE_CLASSES,
        score=score,
        detect_p=detect_p,
        guarantee=Guarantee(alpha, None, len(SCORES), "of clean images, at most 5 % are flagged on average"),
        calibration=Calibration.of(SCORES, named),
        preprocessing=model.preprocessing.to_json(),
    )


def tiny_detector_head(width: int, seed: int = 0) -> SourceHead:
    """A head of the made-up source classes, steep enough to give scores all over 0 to 1."""
    rng = numpy_rng(seed, "tiny detector head")
    weight = torch.from_numpy(rng.standard_normal((len(SOURCE_CLASSES), width))).float()
    return SourceHead(3 * weight, torch.from_numpy(rng.standard_normal(len(SOURCE_CLASSES))).float(), [*SOURCE_CLASSES])

"""What Co-Tuning learns before training: which source classes the images of a target class look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from transferkit.errors import InputError
from transferkit.model import features_of, model_digest

if TYPE_CHECKING:
    from transferkit import Session
    from transferkit.data import Samples

SHARPEST, FLATTEST = 0.05, 20.0


def relationship(source_logits: Tensor, labels: Tensor, classes: int, temperature: float = 1.0) -> Tensor:
    """p(y_s | y_t), (K_t, K_s): the mean over a class's images of softmax(logits (n, K_s) / temperature).

    A target class without images gets the mean over all of them.
    """
    given = (source_logits.double() / temperature).softmax(dim=1)
    counts = torch.bincount(labels, minlength=classes)[:, None]
    sums = torch.zeros(classes, given.shape[1], dtype=torch.float64).index_add_(0, labels, given)
    return torch.where(counts > 0, sums / counts.clamp(min=1), given.mean(dim=0)).float()


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the smallest cross-entropy of logits (n, K) / temperature against labels (n,)."""

    def cost(log_temperature: float) -> float:
        scaled = logits.double() * torch.exp(torch.tensor(-log_temperature, dtype=torch.float64))
        return float(torch.nn.functional.cross_entropy(scaled, labels))

    bounds = torch.tensor([SHARPEST, FLATTEST], dtype=torch.float64).log().tolist()
    return float(torch.tensor(minimize_scalar(cost, bounds=bounds, method="bounded").x, dtype=torch.float64).exp())


def measured(session: Session, temperature: float, calibrate_on: str | None) -> Tensor:
    """The relationship of a stage's training images in the model it starts from; kept by what it follows from."""
    reference = session.reference
    if reference is None:
        raise InputError("co_tuning: a stage that starts from scratch has no source classes to relate to")
    calibration = None if calibrate_on is None else session.open_samples(calibrate_on, "val")
    facts = {
        "what": "co_tuning relationship",
        "version": 1,
        "model": model_digest(reference),
        "data": session.train_samples.fingerprint(),
        "temperature": temperature if calibration is None else calibration.fingerprint(),
    }

    def logits(samples: Samples) -> tuple[Tensor, Tensor]:
        features, labels = features_of(reference, samples, session.progress, "source predictions for co_tuning")
        head = reference.head
        return torch.nn.functional.linear(features, *(p.detach().cpu() for p in head.parameters())), labels

    def compute() -> dict[str, Tensor]:
        scale = temperature
        if calibration is not None:
            if list(calibration.classes) != list(reference.classes):
                raise InputError(f"co_tuning: the classes of {calibrate_on} are not those of the source model")
            scale = fitted_temperature(*logits(calibration))
        return {"relationship": relationship(*logits(session.train_samples), len(session.classes), scale)}

    return session.cached(facts, compute)["relationship"]

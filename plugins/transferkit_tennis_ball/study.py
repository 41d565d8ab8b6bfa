"""What every model answers on target images with and without the mark, and what it was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transferkit_correlated_patch import gate

from transferkit.analysis.run_folder import wilson
from transferkit.errors import InputError
from transferkit.suggest import did_you_mean
from transferkit_tennis_ball.measure import attraction_rate

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.analysis.predictions import Predictions
    from transferkit.model import TransferModel
    from transferkit_tennis_ball.analyzer import Attraction

SOURCE = "source model"
CONSTANT = 0.95


@dataclass(frozen=True)
class Mark:
    """Whether M^s learned the mark: recall of the treated class with and without it."""

    recall_marked: float
    recall_clean: float
    images: int

    @property
    def gate(self) -> float:
        """How much recall the mark adds; NaN without images of the treated class."""
        return gate(self.recall_marked, self.recall_clean)


@dataclass(frozen=True)
class Arm:
    """One model on the target images. Attraction leaves out the target class that has the treated label."""

    name: str
    attraction_marked: float
    attraction_clean: float
    images: int
    """From which the attraction is."""
    accuracy_marked: float
    accuracy_clean: float
    interval_marked: tuple[float, float]
    largest: tuple[str, float]
    """The class predicted most often on marked images, and its share."""
    target_images: float
    source_images: float

    @property
    def constant(self) -> bool:
        """Whether it gives nearly one answer to everything."""
        return self.largest[1] > CONSTANT


def study_mark(session: AnalysisSession, options: Attraction) -> Mark:
    """The gate. Raises InputError when the treated class is not one of the source's, or there is no source model."""
    label = treated_label(session.model("source").classes, options.treated, "source model")
    clean = session.predictions("source", options.source_clean)
    marked = session.predictions("source", options.source_marked)
    treated = treated_label(clean.classes, options.treated, "source images")
    return Mark(_recall(marked, label, options), _recall(clean, label, options), int((clean.labels == treated).sum()))


def treated_label(classes: Sequence[str], treated: str, whose: str = "source model") -> int:
    """The index of the treated class. Raises InputError where there is none of that name."""
    if treated not in classes:
        hint = did_you_mean(treated, classes)
        raise InputError(f'attraction: the {whose} has no class called "{treated}"; {hint}')
    return list(classes).index(treated)


def _recall(given: Predictions, label: int, options: Attraction) -> float:
    chosen = given.labels == treated_label(given.classes, options.treated)
    if not chosen.any():
        return math.nan
    return float((given.predicted()[chosen] == label).double().mean())


def study_arm(session: AnalysisSession, options: Attraction, name: str, label: int) -> Arm:
    """One model: M^s, the analysis's own stage, or another stage.

    Attraction is NaN for a head without the treated label, which is one of another size than the source's.
    Raises InputError for a stage without a model, or one that takes other inputs.
    """
    model = _model(session, name)
    marked = session.predictions(model, options.target_marked)
    clean = session.predictions(model, options.target_clean)
    classes = marked.head.classes
    if name != SOURCE and list(classes) != list(marked.classes):
        raise InputError(f"its classes are not those of {options.target_marked}")
    shared = len(classes) == len(session.model("source").classes)
    predicted, answers = marked.predicted(), clean.predicted()
    others, theirs = marked.labels != label, clean.labels != label
    counts = torch.bincount(predicted, minlength=len(classes))
    most = int(counts.argmax())
    right = float((predicted == marked.labels).double().mean())
    exposed = exposures(session, name)
    return Arm(
        name=name,
        attraction_marked=_attraction(predicted[others], label, shared),
        attraction_clean=_attraction(answers[theirs], label, shared),
        images=int(others.sum()),
        accuracy_marked=right,
        accuracy_clean=float((answers == clean.labels).double().mean()),
        interval_marked=wilson(right, len(predicted)),
        largest=(classes[most], float(counts[most]) / len(predicted)),
        target_images=exposed[0],
        source_images=exposed[1],
    )


def _model(session: AnalysisSession, name: str) -> str | TransferModel:
    if name == SOURCE:
        return "source"
    if name == session.stage_name:
        return "target"
    model = session.stage_model(name)
    if model.preprocessing != session.model("target").preprocessing:
        raise InputError(f"its model takes other inputs than that of {session.stage_name}; compare like with like")
    return model


def _attraction(predictions: Tensor, label: int, shared: bool) -> float:
    return attraction_rate(predictions, label) if shared else math.nan


def exposures(session: AnalysisSession, stage: str) -> tuple[float, float]:
    """How many target and source images a stage was trained on, as its curriculum or its records say; NaN: unknown."""
    if stage == SOURCE:
        return math.nan, math.nan
    train = [record for record in session.history(stage) if record["split"] == "train"]
    noted = [
        values
        for record in train
        for values in record.get("plugins", {}).values()
        if "target_images" in values and "source_images" in values
    ]
    if noted:
        return float(noted[-1]["target_images"]), float(noted[-1]["source_images"])
    if session.recipe is not None and session.recipe.stage(stage).curriculum is not None:
        return math.nan, math.nan  # another curriculum, which does not say
    return float(sum(record["images"] for record in train)), 0.0

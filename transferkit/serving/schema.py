"""From outputs to the answers that a client reads: their types, which openapi.json shows, and one image's values."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from transferkit.deploy.interference import Interference
from transferkit.serving.engine import Outputs
from transferkit.serving.intake import ImagesInJson

Probability = Annotated[float, Field(ge=0, le=1)]


class Ranked(BaseModel):
    """A class and its probability."""

    model_config = ConfigDict(populate_by_name=True)
    class_: Annotated[str, Field(alias="class")]
    probability: Probability


class Prediction(BaseModel):
    """One image. The last four are null for a model without a detector."""

    model_config = ConfigDict(populate_by_name=True)
    name: Annotated[str | None, Field(description="The file name it was sent under.")]
    class_: Annotated[str, Field(alias="class", description="The most probable class.")]
    probability: Probability
    top: Annotated[list[Ranked], Field(description="The most probable classes, best first.")]
    score: Annotated[float | None, Field(description="How far source memories were woken, 0 to 1.")]
    p_value: Annotated[float | None, Field(description="The share of clean images with a score at least as large.")]
    flag: Annotated[bool | None, Field(description="Whether the score is above the threshold.")]
    source_class: Annotated[
        str | None, Field(description="The source class behind the score: the strongest of those that are watched.")
    ]


class Answer(BaseModel):
    """The predictions of a request, in the order of its images."""

    model: Annotated[str, Field(description="Changes with the weights, the classes and the detector.")]
    guarded: bool
    detect_p: Annotated[float | None, Field(description="Scores above it are flagged.")]
    predictions: list[Prediction]


class Problem(BaseModel):
    """Why there is no prediction."""

    reason: str
    detail: str


class Health(BaseModel):
    """Whether this server should get requests, and why not."""

    status: str
    model: str
    engine: str


class Predictor:
    """Reads outputs with the model's class names and its detector's threshold."""

    def __init__(
        self, model_id: str, classes: list[str], interference: Interference | None, temperature: float = 1.0
    ) -> None:
        self.model_id = model_id
        self.temperature = temperature
        self.classes = classes
        self.interference = interference

    def prediction(self, name: str | None, outputs: Outputs, top: int) -> Prediction:
        """Of an image that was sent under that name, from a batch of one, with at most `top` classes."""
        logits = outputs.logits[0].astype(np.float64) / self.temperature
        weights = np.exp(logits - logits.max())
        probabilities = weights / weights.sum()
        best = np.argsort(-probabilities, kind="stable")[:top]
        ranked = [
            Ranked.model_construct(class_=self.classes[index], probability=float(probabilities[index]))
            for index in best
        ]
        score, p_value, flag, source_class = math.nan, math.nan, None, None
        if self.interference is not None and outputs.score is not None and outputs.source_class is not None:
            score = float(outputs.score[0])
            p_value = self.interference.calibration.p_value(score)
            flag = not score <= self.interference.detect_p  # a score that is no number is flagged
            named = int(outputs.source_class[0])
            source_class = self.interference.source_classes[named] if named >= 0 else None
        return Prediction.model_construct(
            name=name,
            class_=ranked[0].class_,
            probability=ranked[0].probability,
            top=ranked,
            score=None if math.isnan(score) else score,
            p_value=None if math.isnan(p_value) else p_value,
            flag=flag,
            source_class=source_class,
        )


def request_body() -> dict[str, Any]:
    """The two forms of a request, for openapi.json: the server reads bodies itself, to stop at the limits."""
    several = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    form = {"type": "object", "required": ["images"], "properties": {"images": several}}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": ImagesInJson.model_json_schema()},
        },
    }

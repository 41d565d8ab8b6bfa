"""The answers as types: what stands in openapi.json is what is sent."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from transferkit.serving.intake import ImagesInJson
from transferkit.serving.predictor import Verdict

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


def prediction(name: str | None, verdict: Verdict) -> Prediction:
    """One image's verdict as it is sent."""
    ranked = [Ranked.model_construct(class_=label, probability=value) for label, value in verdict.top]
    return Prediction.model_construct(
        name=name,
        class_=verdict.top[0][0],
        probability=verdict.top[0][1],
        top=ranked,
        score=verdict.score,
        p_value=verdict.p_value,
        flag=verdict.flag,
        source_class=verdict.source_class,
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

"""What a server of models is asked: predictions, explanations, which models there are, and how they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel

from transferkit.serving import schema
from transferkit.serving.refusals import STATUS, Refused
from transferkit.serving.service import Service

ROUTES = ("/predict", "/explain", "/models", "/health/live", "/health/ready", "/metrics")
NAMED = {"model": "$response.body#/models/0/name"}
LINKS = {
    name: {"operationId": f"{name}_v2_models__model__{rest}", "parameters": NAMED}
    for name, rest in {"metadata": "get", "model_ready": "ready_get", "infer": "infer_post"}.items()
}
"""Of openapi.json: what can be asked of a model by the name that /models says."""

Name = Annotated[str | None, Query(description="Which model; default: the first one of /models.")]
Top = Annotated[int, Query(ge=1, description="At most so many classes.")]


def refusals(form: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Every status of a refused request, for openapi.json."""
    return {status: {"model": form} for status in sorted(set(STATUS.values())) if status != 499}


def add(app: FastAPI, service: Service) -> None:
    """Add the routes."""
    _add_questions(app, service)
    _add_state(app, service)


def length_of(request: Request) -> str | None:
    """The declared length of a body. Raises Refused for one that is compressed, which no limit would hold for."""
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() not in ("", "identity"):
        raise Refused("content_type", "the body is compressed; send it without a Content-Encoding")
    return request.headers.get("content-length")


def _add_questions(app: FastAPI, service: Service) -> None:
    body = {"requestBody": schema.request_body()}

    @app.post("/predict", response_model=schema.Answer, responses=refusals(schema.Problem), openapi_extra=body)
    async def predict(request: Request, top: Top = 3, model: Name = None) -> Response:
        """Classes, probabilities and the detector's verdict for each image of the request."""
        kind = request.headers.get("content-type", "")
        return _json(await service.predict(request.receive, length_of(request), kind, top, model))

    @app.post("/explain", response_model=schema.Explanation, responses=refusals(schema.Problem), openapi_extra=body)
    async def explain(request: Request, model: Name = None) -> Response:
        """Where in one image the model sees its answer, and the source class that the detector names."""
        kind = request.headers.get("content-type", "")
        return _json(await service.explain(request.receive, length_of(request), kind, model))


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


def _add_state(app: FastAPI, service: Service) -> None:
    def health(status: str) -> schema.Health:
        models = [served.health() for served in service.models.values()]
        return schema.Health(status=status, model=models[0].model, engine=models[0].engine, models=models)

    @app.get("/models", responses={200: {"links": LINKS}, 401: {"model": schema.Problem}})
    async def models() -> schema.Cards:
        """What is served here, and what can be asked of it."""
        cards = [served.card() for served in service.models.values()]
        limits = service.settings
        return schema.Cards(models=cards, max_bytes=limits.max_bytes, max_images=limits.max_images)

    @app.get("/health/live")
    async def live() -> schema.Health:
        """The process answers."""
        return health("live")

    @app.get("/health/ready", responses={503: {"model": schema.Health}})
    async def ready(response: Response) -> schema.Health:
        """Every model gives the answers it should, and the server is not stopping."""
        status = await service.readiness()
        response.status_code = 200 if status == "ready" else 503
        return health(status)

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: {"model": schema.Problem}},
    )
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

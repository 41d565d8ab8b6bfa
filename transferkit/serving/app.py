"""The HTTP side of a service: routes, their types, and the layer that counts and asks for the key."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transferkit.serving import schema
from transferkit.serving.refusals import STATUS, Refused
from transferkit.serving.service import Service
from transferkit.surface import __version__

logger = logging.getLogger("transferkit.serving")
ROUTES = ("/predict", "/health/live", "/health/ready", "/metrics", "/openapi.json")
OPEN = ("/health/live", "/health/ready")
"""Routes that need no key: orchestrators have none."""


def create_app(service: Service) -> ASGIApp:
    """The application of one service; its life is the service's."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await service.check()
        yield
        service.close()

    app = FastAPI(
        title="transferkit",
        version=__version__,
        description="A fine-tuned model and its interference detector.",
        lifespan=life,
        docs_url=None,  # the pages load scripts from elsewhere
        redoc_url=None,
    )
    _add_predict(app, service)
    _add_state(app, service)

    _add_problems(app, service)
    return Outermost(app, service)


def _add_predict(app: FastAPI, service: Service) -> None:
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": schema.Problem} for status in sorted(set(STATUS.values())) if status != 499
    }

    @app.post(
        "/predict",
        response_model=schema.Answer,
        responses=refusals,
        openapi_extra={"requestBody": schema.request_body()},
    )
    async def predict(
        request: Request, top: Annotated[int, Query(ge=1, description="At most so many classes.")] = 3
    ) -> Response:
        """Classes, probabilities and the detector's verdict for each image of the request."""
        headers = request.headers
        answer = await service.predict(
            request.receive, headers.get("content-length"), headers.get("content-type", ""), top
        )
        return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


def _add_state(app: FastAPI, service: Service) -> None:
    def health(status: str) -> schema.Health:
        return schema.Health(status=status, model=service.predictor.model_id, engine=service.backend.name)

    @app.get("/health/live")
    async def live() -> schema.Health:
        """The process answers."""
        return health("live")

    @app.get("/health/ready", responses={503: {"model": schema.Health}})
    async def ready(response: Response) -> schema.Health:
        """The model gives the answers it should, and the server is not stopping."""
        status = await service.readiness()
        response.status_code = 200 if status == "ready" else 503
        return health(status)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_problems(app: FastAPI, service: Service) -> None:
    """Every answer that is none has the same form."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        service.metrics.rejects.labels(error.reason).inc()
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return await refused(request, Refused("parameter", f"{first['loc'][-1]}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        content = {"reason": "no_route", "detail": error.detail}
        return JSONResponse(content, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"reason": "failed", "detail": "the server failed; its log says why"}, status_code=500)


def refusal(refused: Refused) -> Response:
    """The answer to a refused request. Slow uploads lose their connection; others may go on using it."""
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    if refused.reason == "slow_upload":
        headers["Connection"] = "close"
    if refused.reason == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    content = {"reason": refused.reason, "detail": refused.detail}
    return JSONResponse(content, status_code=refused.status, headers=headers)


class Outermost:
    """Asks for the key before anything of a request's body is read, and counts every answer."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        key = service.settings.api_key
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        code = 499  # the client may be gone before there is an answer

        async def counted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if self._service.status == "draining":  # nothing more will be read from this connection
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            if self._may(scope):
                await self._app(scope, receive, counted)
            else:
                self._service.metrics.rejects.labels("unauthorized").inc()
                await refusal(Refused("unauthorized", "this server needs its API key"))(scope, receive, counted)
        except Exception:
            if code == 499:
                raise
            logger.exception("a request failed")  # it is answered; uvicorn would cut a connection that may go on
        finally:
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self._service.metrics.requests.labels(route, code).inc()
            self._service.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _may(self, scope: Scope) -> bool:
        """`Authorization: Bearer KEY` or `X-API-Key: KEY`; compared in a time that tells nothing."""
        if self._key is None or scope["path"] in OPEN:
            return True
        headers = dict(scope["headers"])
        given: bytes = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = token.strip()
        return hmac.compare_digest(given, self._key)

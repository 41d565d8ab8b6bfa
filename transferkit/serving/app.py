"""The HTTP side of a service: its routes, what holds for all, and the layer that counts and asks for the key."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transferkit.serving import inference_protocol, pages, routes
from transferkit.serving.refusals import Refused
from transferkit.serving.service import Service
from transferkit.serving.tensors import HEADER
from transferkit.serving.watch import watch
from transferkit.surface import __version__

logger = logging.getLogger("transferkit.serving")
ROUTES = (*pages.ROUTES, *routes.ROUTES, "/openapi.json", *inference_protocol.ROUTES)
OPEN = {*pages.ROUTES, "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
"""Routes that need no key: orchestrators have none, and pages ask for it."""


def create_app(service: Service) -> ASGIApp:
    """The application of one service; its life is the service's."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await service.check()
        watching = asyncio.create_task(watch(service)) if service.settings.watch else None
        yield
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        service.close()

    app = FastAPI(
        title="transferkit",
        version=__version__,
        description="Fine-tuned models and their interference detectors.",
        lifespan=life,
        docs_url=None,  # the pages load scripts from elsewhere
        redoc_url=None,
    )
    routes.add(app, service)
    inference_protocol.add(app, service)
    pages.add(app)
    _add_problems(app, service)
    _add_security(app)
    outermost = Outermost(app, service)
    if not service.settings.cors:
        return outermost
    return CORSMiddleware(
        outermost,  # a browser asks beforehand, without the key
        allow_origins=service.settings.cors,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", HEADER],
        expose_headers=["Retry-After", HEADER],
    )


def _add_security(app: FastAPI) -> None:
    """The key, for openapi.json; `Outermost` asks for it."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = made()
            found["components"]["schemas"] |= inference_protocol.components()
            found["components"]["securitySchemes"] = {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "If the server has one."},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The same key."},
            }
            for path, operations in found["paths"].items():
                for operation in operations.values():
                    if path not in OPEN:
                        operation["security"] = [{"key": []}, {"bearer": []}, {}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add_problems(app: FastAPI, service: Service) -> None:
    """Every answer that is none has the same form, or that of its protocol."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        service.metrics.rejects.labels(error.reason).inc()
        return refusal(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return await refused(request, Refused("parameter", f"{first['loc'][-1]}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        content = _problem("no_route", str(error.detail), request.url.path)
        return JSONResponse(content, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        content = _problem("failed", "the server failed; its log says why", request.url.path)
        return JSONResponse(content, status_code=500)


def refusal(refused: Refused, path: str) -> Response:
    """The answer to a refused request. Slow uploads lose their connection; others may go on using it."""
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    if refused.reason == "slow_upload":
        headers["Connection"] = "close"
    if refused.reason == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    content = _problem(refused.reason, refused.detail, path)
    return JSONResponse(content, status_code=refused.status, headers=headers)


def _problem(reason: str, detail: str, path: str) -> dict[str, str]:
    """The Open Inference Protocol has a word of its own for it."""
    said = "error" if path == "/v2" or path.startswith("/v2/") else "detail"
    return {"reason": reason, said: detail}


def label(path: str) -> str:
    """The route of a path, for metrics: one of ROUTES, or `other`."""
    if path in ROUTES:
        return path
    return inference_protocol.route(path) or "other"


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
                if self._service.draining:  # nothing more will be read from this connection
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            if self._may(scope):
                await self._app(scope, receive, counted)
            else:
                self._service.metrics.rejects.labels("unauthorized").inc()
                refused = Refused("unauthorized", "this server needs its API key")
                await refusal(refused, scope["path"])(scope, receive, counted)
        except Exception:
            if code == 499:
                raise
            logger.exception("a request failed")  # it is answered; uvicorn would cut a connection that may go on
        finally:
            route = label(scope["path"])
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

"""The Open Inference Protocol (v2), as clients of KServe and of NVIDIA's Triton speak it, with the binary extension.

The same images, limits, refusals, metrics and log as `/predict`: only the form of a request and of its answer differs.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from transferkit.deploy.onnx_file import INPUT
from transferkit.serving import routes, tensors
from transferkit.serving.refusals import Refused
from transferkit.serving.schema import PIXEL
from transferkit.serving.served import Served
from transferkit.serving.service import Service
from transferkit.surface import __version__

VERSION = "1"
PLATFORMS = {"onnx": "onnxruntime_onnx", "torch": "pytorch"}
MODEL = "/v2/models/{model}"
ROUTES = ("/v2", "/v2/health/live", "/v2/health/ready", MODEL, f"{MODEL}/ready", f"{MODEL}/infer")
_PATH = re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?(/ready|/infer)?")


class ProtocolProblem(BaseModel):
    """Why there is no answer."""

    reason: str
    error: str


class Server(BaseModel):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the process answers."""

    live: bool


class Ready(BaseModel):
    """Whether every model gives the answers it should."""

    ready: bool


class ModelReady(BaseModel):
    """Whether this model gives the answers it should."""

    name: str
    ready: bool


class Tensor(BaseModel):
    """An input or output; −1 is a dimension that a request chooses."""

    name: str
    datatype: str
    shape: list[int]


class Metadata(BaseModel):
    """A model's inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Given(BaseModel):
    """One output: `data`, or so many bytes behind the JSON as its parameters say."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class Inferred(BaseModel):
    """An answer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Given]


def route(path: str) -> str | None:
    """The route of a path with a model's name in it; None for others."""
    found = _PATH.fullmatch(path)
    return None if found is None else MODEL + (found[1] or "")


def add(app: FastAPI, service: Service) -> None:
    """Add the routes, each of a model also with its version."""
    refusals = routes.refusals(ProtocolProblem)
    unknown: dict[int | str, dict[str, Any]] = {status: refusals[status] for status in (401, 404)}

    def named(model: str, version: str | None = None) -> Served:
        if version not in (None, VERSION):
            raise Refused("unknown_model", f"there is only version {VERSION} of a model")
        return service.model(model)

    @app.get("/v2", responses={401: {"model": ProtocolProblem}})
    async def server() -> Server:
        """What answers here."""
        return Server(name="transferkit", version=__version__, extensions=[tensors.EXTENSION])

    @app.get("/v2/health/live")
    async def live() -> Live:
        """The process answers."""
        return Live(live=True)

    @app.get("/v2/health/ready", responses={503: {"model": Ready}})
    async def ready(response: Response) -> Ready:
        """Every model gives the answers it should, and the server is not stopping."""
        fit = await service.readiness() == "ready"
        response.status_code = 200 if fit else 503
        return Ready(ready=fit)

    async def metadata(model: str, version: str | None = None) -> Metadata:
        """A model's inputs and outputs. `images` may also be UINT8 [-1, height, width, 3] or BYTES [-1]."""
        served = named(model, version)
        sees = served.opened.preprocess.preprocessing
        shape = [-1, sees.in_chans, *sees.input_size]
        outputs = tensors.described(len(served.opened.classes), served.opened.interference is not None)
        return Metadata(
            name=served.name,
            versions=[VERSION],
            platform=PLATFORMS.get(served.backend.name, served.backend.name),
            inputs=[Tensor(name=INPUT, datatype="FP32", shape=shape)],
            outputs=[Tensor(**one) for one in outputs],
        )

    async def model_ready(response: Response, model: str, version: str | None = None) -> ModelReady:
        """The model gives the answers it should, and the server is not stopping."""
        served = named(model, version)
        fit = await served.readiness() == "ready" and not service.draining
        response.status_code = 200 if fit else 503
        return ModelReady(name=served.name, ready=fit)

    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        """The numbers of each image, and the detector's verdict."""
        named(model, version)
        header_length = request.headers.get(tensors.HEADER)

        async def answer(served: Served, asked: tensors.Asked) -> Response:
            tensors.check_outputs(asked, served.opened.interference is not None)
            outputs, said = await service.predictions(served, asked.pictures, 1)
            divided = served.predictor.temperature
            content, length = tensors.written(asked, served.name, VERSION, outputs, said, temperature=divided)
            if length is None:
                return Response(content, media_type="application/json")
            return Response(content, media_type="application/octet-stream", headers={tensors.HEADER: str(length)})

        return await service.take(
            request.receive,
            routes.length_of(request),
            model,
            lambda intake, body: tensors.read_request(intake, body, header_length),
            answer,
        )

    for place, hidden in ((MODEL, False), (f"{MODEL}/versions/{{version}}", True)):
        shown: dict[str, Any] = {"include_in_schema": not hidden}
        app.add_api_route(place, metadata, response_model=Metadata, responses=unknown, **shown)
        app.add_api_route(
            f"{place}/ready",
            model_ready,
            response_model=ModelReady,
            responses={**unknown, 503: {"model": ModelReady}},
            **shown,
        )
        app.add_api_route(
            f"{place}/infer",
            infer,
            methods=["POST"],
            response_model=Inferred,
            responses={**refusals, 200: {"content": {"application/octet-stream": BINARY}}},
            openapi_extra={"requestBody": request_body()},
            **shown,
        )


def components() -> dict[str, Any]:
    """The schemas of a request, for openapi.json, by name."""
    found = tensors.InferRequest.model_json_schema(ref_template=COMPONENTS)
    return {**found.pop("$defs"), "InferRequest": found}


COMPONENTS = "#/components/schemas/{model}"
EXAMPLE = {"inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [1], "data": [PIXEL]}]}
BINARY = {"schema": {"type": "string", "format": "binary"}}


def request_body() -> dict[str, Any]:
    """The two forms of a request, for openapi.json."""
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": COMPONENTS.format(model="InferRequest")}, "example": EXAMPLE},
            "application/octet-stream": BINARY,
        },
    }

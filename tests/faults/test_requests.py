"""Requests made from the server's own openapi.json, right and wrong ones: no failure, answers as they are described."""

from __future__ import annotations

import base64
import io

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
RIGHT, WRONG = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
INFER = "POST /v2/models/{model}/infer"
POSTS = ["POST /predict", "POST /explain", INFER]
GETS = ["/models", "/health/live", "/health/ready", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready"]
GETS += ["/v2/models/{model}", "/v2/models/{model}/ready"]
OPERATIONS = [*POSTS, *(f"GET {path}" for path in GETS)]
TRIED = [*((label, WRONG) for label in POSTS), *((label, RIGHT) for label in OPERATIONS)]
"""A GET has nothing that could be wrong."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A guarded model."""
    from transferkit.testing.detector import tiny_guarded

    return tiny_guarded(tmp_path_factory.mktemp("served") / "model", ["ants", "bees"])


@pytest.fixture
def api(folder):
    """It is served in this process, and says what it answers to. Schemathesis ends a server with the test."""
    from transferkit.serving.app import create_app
    from transferkit.serving.service import open_service
    from transferkit.serving.settings import Settings

    app = create_app(open_service(folder, Settings(device="cpu", engine="torch"), lambda text: None))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_operation_is_tried(api) -> None:
    assert {found.ok().label for found in api.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize("label, mode", TRIED)
def test_made_up_requests(api, everything, note, label, mode) -> None:
    operation = next(found.ok() for found in api.get_all_operations() if found.ok().label == label)
    answers = {}

    @settings(
        max_examples=(40 if label in POSTS else 5) * (25 if everything else 1),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode))
    def tried(case) -> None:
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        kind = f"answered {answer.status_code // 100}xx, as described"
        answers[kind] = answers.get(kind, 0) + 1

    try:
        tried()
    except BaseException:
        note("made-up request", "WRONG")
        raise
    finally:
        for kind, times in answers.items():
            for _ in range(times):
                note("made-up request", kind)
    assert answers


def test_a_good_request_is_answered(api, note) -> None:
    """Or nothing above says anything."""
    file = io.BytesIO()
    Image.new("RGB", (40, 36), "teal").save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [data]}
    for label, body, path, found in (
        ("POST /predict", {"images": [data]}, {}, "predictions"),
        ("POST /explain", {"images": [data]}, {}, "maps"),
        (INFER, {"inputs": [tensor]}, {"model": "model"}, "outputs"),
    ):
        operation = next(one.ok() for one in api.get_all_operations() if one.ok().label == label)
        case = operation.Case(body=body, path_parameters=path, media_type="application/json")
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        assert answer.status_code == 200 and answer.json()[found]
        note("made-up request", "answered 2xx, as described")

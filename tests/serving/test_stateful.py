"""Chains of requests, each made of the answers before it: no failure, and every answer as openapi.json describes it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings

schemathesis = pytest.importorskip("schemathesis")

from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def test_chains_of_requests(folder):
    from transferkit.serving.app import create_app
    from transferkit.serving.service import open_service
    from transferkit.serving.settings import Settings

    app = create_app(open_service({"mine": folder}, Settings(device="cpu", engine="torch"), lambda text: None))
    api = schemathesis.openapi.from_asgi("/openapi.json", app)
    answers, asked, answered = Counter(), Counter(), Counter()

    class Chains(api.as_state_machine()):
        def validate_response(self, response, case, **more):
            answers[response.status_code] += 1
            model = case.path_parameters.get("model")
            asked[case.operation.label, model] += 1
            answered[model] += response.status_code == 200
            case.validate_response(response, checks=CHECKS)

    Chains.run(
        settings=settings(
            max_examples=25,
            stateful_step_count=6,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )
    assert (
        sum(answers.values()) > 25 and answers[200] and {code for code in answers if code >= 500} <= {503, 504}
    )  # busy
    named = {label for label, model in asked if model == "mine"}
    assert named >= {"GET /v2/models/{model}", "POST /v2/models/{model}/infer"} and answered["mine"]

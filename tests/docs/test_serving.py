"""serving.md names every reason, metric, route and field, and no other."""

from __future__ import annotations

import json
import re

import pytest

from .pages import blocks, page, sections

for package in ("fastapi", "prometheus_client", "python_multipart"):
    pytest.importorskip(package)

TEXT = page("serving")
SECTIONS = sections(TEXT)


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_every_reason_with_its_status():
    from transferkit.serving.refusals import STATUS

    said = {}
    for row in rows(SECTIONS["Which images"]):
        if match := re.match(r"\| (\d+) \| ([^|]+) \|", row):
            said |= dict.fromkeys(re.findall(r"`(\w+)`", match[2]), int(match[1]))
    assert said == {reason: status for reason, status in STATUS.items() if reason != "disconnected"}
    assert "`disconnected`" in SECTIONS["Which images"]


def test_every_metric():
    from transferkit.serving.metrics import Metrics

    text = Metrics().text().decode()
    given = {
        name for name in re.findall(r"^# TYPE (transferkit_\w+)", text, re.MULTILINE) if not name.endswith("_created")
    }
    said = {name for row in rows(SECTIONS["Watching"]) for name in re.findall(r"`(transferkit_\w+)`", row)}
    assert said == given


def test_every_route():
    from transferkit.serving.app import ROUTES

    said = [name for row in rows(SECTIONS["Asking"]) for name in re.findall(r"^\| `(/[^`]*)`", row)]
    assert sorted(said) == sorted(ROUTES)


def test_the_example_has_every_field():
    from transferkit.serving.schema import Answer, Prediction

    answer = json.loads(blocks(SECTIONS["Asking"] + "\n", "json")[0])
    Answer.model_validate(answer)
    assert set(answer) == set(Answer.model_fields)
    assert set(answer["predictions"][0]) == {field.alias or name for name, field in Prediction.model_fields.items()}


def test_numbers_are_the_defaults():
    from transferkit.data.images import MOST_SCANS
    from transferkit.serving.settings import MIB, Settings, batching

    assert f"more than {MOST_SCANS} scans" in TEXT
    assert f"longer than {Settings().decode_timeout:g} s" in TEXT and f"within {Settings().answer_timeout:g} s" in TEXT
    assert f"after {Settings().drain_timeout:g} s" in TEXT and f"hold {Settings().buffer_bytes // MIB} MiB" in TEXT
    sizes = batching(Settings(), "cuda")
    assert f"up to {sizes.max_batch}" in TEXT and f"most {1000 * sizes.max_wait:g} ms" in TEXT


def test_the_log_has_the_fields_that_are_named(tmp_path):
    from transferkit.serving.request_log import RequestLog
    from transferkit.serving.schema import Prediction

    log = RequestLog(tmp_path / "log.jsonl", lambda lines: None)
    values = {"class_": "ants", "probability": 0.9, "score": float("nan"), "p_value": None}
    log.write("id", Prediction.model_construct(name=None, top=[], flag=True, source_class="daisy", **values))
    log.close()
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    assert entry["score"] is None
    assert all(f"`{name}`" in SECTIONS["Watching"] for name in entry)

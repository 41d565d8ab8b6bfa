"""Health, metrics and the log say what happened."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from .conftest import encoded, picture, running


class Fragile:
    """An engine that can be broken."""

    def __init__(self, engine):
        self.engine, self.name, self.device, self.largest = engine, engine.name, engine.device, None
        self.broken = False

    def __call__(self, images):
        if self.broken:
            raise RuntimeError("no more memory on the device")
        return self.engine(images)


def test_counters_add_up(folder, tmp_path):
    log = tmp_path / "requests.jsonl"
    with running(folder, log=log) as held:
        found = []
        for seed in range(0, 40, 2):
            answer = held.send(encoded(picture(seed)), encoded(picture(seed + 1)))
            found += answer.json()["predictions"]
        for _ in range(3):
            assert held.send(b"nothing").status_code == 415
        held.client.get("/nowhere")
        requests = {
            (route, code): held.metric("transferkit_requests_total", route=route, code=code)
            for route, code in (("/predict", "200"), ("/predict", "415"), ("other", "404"))
        }
        assert list(requests.values()) == [20, 3, 1]
        assert held.metric("transferkit_request_duration_seconds_count", route="/predict") == 23
        assert held.metric("transferkit_rejects_total", reason="format") == 3
        assert held.metric("transferkit_images_total") == held.metric("transferkit_interference_score_count") == 40
        total = sum(one["score"] for one in found)
        assert held.metric("transferkit_interference_score_sum") == pytest.approx(total)
        below = sum(one["score"] <= 0.1 for one in found)
        assert held.metric("transferkit_interference_score_bucket", le="0.1") == below
        flagged = Counter(one["source_class"] for one in found if one["flag"])
        assert set(flagged) <= {"espresso", "daisy"} and flagged
        for name in ("espresso", "daisy"):
            assert held.metric("transferkit_interference_flags_total", source_class=name) == flagged[name]
        assert held.metric("transferkit_interference_flags_total", source_class="shark") is None
        assert held.metric("transferkit_batch_images_sum") == 43  # with the check's three
        assert held.metric("transferkit_ready") == 1
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    kept = ("class", "probability", "score", "p_value", "flag", "source_class")
    assert [{key: line[key] for key in kept} for line in lines] == [{key: one[key] for key in kept} for one in found]
    assert all(set(line) == {"time", "model", *kept} for line in lines)


def test_the_log_is_what_a_summary_reads(folder, tmp_path):
    from transferkit.deploy.interference import read_interference
    from transferkit.deploy.summary import Tally, add_log

    log = tmp_path / "requests.jsonl"
    for _ in range(2):  # a second start goes on where the first ended
        with running(folder, log=log) as held:
            flags = sum(
                one["flag"] for one in held.send(*(encoded(picture(s)) for s in range(9))).json()["predictions"]
            )
    tally = Tally()
    add_log(tally, log, read_interference(folder))
    assert (tally.images, tally.flagged, tally.skipped, tally.contrary, tally.unknown) == (18, 2 * flags, 0, 0, 0)


def test_a_log_that_cannot_be_written_stops_nobody(folder, tmp_path, monkeypatch):
    from transferkit.errors import InputError

    with pytest.raises(InputError, match="--log"), running(folder, log=tmp_path / "no" / "folder.jsonl"):
        pass
    with running(folder, log=tmp_path / "log.jsonl") as held:

        class Full:
            def write(self, text):
                raise OSError(28, "No space left on device")

            def close(self):
                pass

        held.service._log._file.close()
        held.service._log._file = Full()
        assert held.send(encoded(picture(1))).status_code == 200
        held.service._log.close()
        assert held.metric("transferkit_log_errors_total") == 1


def test_ready_follows_the_model(folder):
    with running(folder, Fragile) as held:
        engine = held.service.first.backend.engine
        assert held.client.get("/health/ready").json()["status"] == "ready"
        engine.broken = True
        for _ in range(5):  # on one connection
            answer = held.send(encoded(picture(1)))
        assert answer.status_code == 500 and answer.json()["reason"] == "failed" and "memory" not in answer.text
        assert held.client.get("/health/ready").status_code == 503
        assert held.client.get("/health/live").status_code == 200
        assert held.metric("transferkit_ready") == 0
        assert held.metric("transferkit_requests_total", route="/predict", code="500") == 5
        engine.broken = False
        assert held.client.get("/health/ready").status_code == 200
        assert held.send(encoded(picture(1))).status_code == 200


def test_another_model_behind_the_same_folder_is_never_ready(folder, loaded):
    class Other:
        def __init__(self, engine):
            self.engine, self.name, self.device, self.largest = engine, engine.name, engine.device, None

        def __call__(self, images):
            outputs = self.engine(images)
            return outputs._replace(logits=outputs.logits + 0.01)

    with running(folder, Other) as held:
        answer = held.client.get("/health/ready")
        assert answer.status_code == 503 and "logits differ" in answer.json()["status"]

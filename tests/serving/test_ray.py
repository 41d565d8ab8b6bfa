"""The same service as a Ray Serve application, in a process of its own."""

from __future__ import annotations

import socket

import httpx
import pytest

from .conftest import Process, encoded, picture

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_ray_answers_as_the_model_does(folder, loaded, tmp_path):
    log, port = tmp_path / "log.jsonl", free_port()
    options = [
        "--engine",
        "ray",
        "--port",
        port,
        "--workers",
        2,
        "--device",
        "cpu",
        "--log",
        log,
        "--max-bytes",
        50_000,
    ]
    held = Process(folder, *options)
    assert held.port == port
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            assert client.get("/health/ready").json()["status"] == "ready"
            files = [("images", (f"{seed}.png", encoded(picture(seed)))) for seed in range(20)]
            found = client.post("/predict", files=files).json()["predictions"]
            assert client.post("/predict", files={"images": b"nothing"}).status_code == 415
            assert client.post("/predict", files={"images": b"x" * 60_000}).status_code == 413
            assert 'transferkit_images_total{model="model"} 20.0' in client.get("/metrics").text
    finally:
        code = held.stop(timeout=90)
    assert code == 0, held.said
    for seed, one in enumerate(found):
        said = loaded(loaded.preprocess(picture(seed))[None])
        assert one["name"] == f"{seed}.png" and one["score"] == pytest.approx(float(said.score), abs=1e-5)
    assert len(log.read_text().splitlines()) == 20

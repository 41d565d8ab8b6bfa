"""The same service as a Ray Serve application, in a process of its own."""

from __future__ import annotations

import signal
import socket
import threading
import time

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


def test_what_ray_took_is_answered_when_it_stops(folder):
    """Every request that was sent before SIGTERM; later ones may find nobody."""
    port = free_port()
    held = Process(folder, "--engine", "ray", "--port", port, "--device", "cpu")
    files = [("images", (f"{seed}.png", encoded(picture(seed, (1500, 1500))))) for seed in range(8)]
    found, stopped = [], threading.Event()

    def ask():
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
            while not stopped.is_set():
                try:
                    found.append(client.post("/predict", files=files).status_code)
                except httpx.HTTPError as error:
                    found.append(repr(error))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for one in clients:
        one.start()
    while len(found) < 4:
        time.sleep(0.05)
    time.sleep(0.3)  # every client waits for an answer
    held.process.send_signal(signal.SIGTERM)
    stopped.set()
    for one in clients:
        one.join()
    assert held.wait(timeout=120) == 0, held.said
    assert set(found) == {200}, found

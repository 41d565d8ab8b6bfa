"""Too much, too slow, too many, or without a key: each is refused with its status, and the next request is answered."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time

import httpx
import pytest

from .conftest import encoded, picture, running

DATA = encoded(picture(1))
HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"


class Slow:
    """An engine that takes its time."""

    def __init__(self, engine):
        self.engine, self.name, self.device, self.largest = engine, engine.name, engine.device, None
        self.seconds = 0.25

    def __call__(self, images):
        time.sleep(self.seconds)
        return self.engine(images)


@pytest.fixture(scope="module")
def strict(folder):
    """A server with small limits."""
    with running(folder, max_bytes=50_000, read_timeout=0.5, max_images=3, max_pixels=1_000_000) as held:
        yield held


@pytest.fixture
def raw(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as connection:
        yield connection


def test_a_declared_length_is_refused_before_the_body_is_sent(strict, raw):
    raw.sendall(f"{HEAD}Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n".encode())
    assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_unknown_length_is_refused_when_it_grows_too_large(strict):
    def chunks():
        for _ in range(100):
            yield b"x" * 10_000

    answer = strict.client.post("/predict", content=chunks(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_many_bytes")
    assert strict.send(b"x" * 60_000).status_code == 413
    assert strict.send(DATA).status_code == 200


def test_a_slow_body_is_given_up(strict, raw):
    began = time.monotonic()
    raw.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
    for _ in range(4):
        raw.sendall(b"1\r\nx\r\n")
        time.sleep(0.1)
    answer = raw.recv(4096)
    while chunk := raw.recv(4096):
        answer += chunk
    assert answer.startswith(b"HTTP/1.1 408 ") and b"slow_upload" in answer
    assert time.monotonic() - began < 3
    assert strict.metric("transferkit_rejects_total", reason="slow_upload") == 1


def test_a_slow_head_is_given_up(strict, raw):
    for letter in b"POST /pre":
        raw.sendall(bytes([letter]))
        time.sleep(0.02)
    assert raw.recv(100) == b""
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as silent:
        assert silent.recv(100) == b""


def test_a_client_that_goes_away_is_no_trouble(strict):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", strict.port)) as connection:
            connection.sendall(f"{HEAD}Content-Length: 4000\r\n\r\n".encode() + b"half")
    assert strict.send(DATA).status_code == 200
    deadline = time.monotonic() + 5
    while strict.metric("transferkit_rejects_total", reason="disconnected") != 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)


TEXT = base64.b64encode(DATA).decode()
BODIES = {
    "no content type": (b"x", "", 415, "content_type"),
    "another type": (DATA, "application/pdf", 415, "content_type"),
    "nothing": (b"", "image/png", 422, "no_image"),
    "no boundary": (b"x", "multipart/form-data", 422, "malformed"),
    "no parts": (b"--b--\r\n", "multipart/form-data; boundary=b", 422, "no_image"),
    "no end": (b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nx', None, 422, "malformed"),
    "no file": (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n', None, 422, "malformed"),
    "noise": (b"\r\n-" * 3000, None, 422, "malformed"),
    "no json": (b"{", "application/json", 422, "malformed"),
    "deep json": (b"[" * 40_000, "application/json", 422, "malformed"),
    "another key": (b'{"image": "x"}', "application/json", 422, "malformed"),
    "a number": (b'{"images": [1]}', "application/json", 422, "malformed"),
    "no images": (b'{"images": []}', "application/json", 422, "malformed"),
    "no base64": (b'{"images": ["\xc3\xa4"]}', "application/json", 422, "malformed"),
    "too many": (json.dumps({"images": [TEXT] * 4}).encode(), "application/json", 422, "too_many_images"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_that_cannot_be_read(strict, kind):
    body, content_type, status, reason = BODIES[kind]
    headers = {"Content-Type": "multipart/form-data; boundary=b" if content_type is None else content_type}
    answer = strict.client.post("/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text


def test_too_many_files(strict):
    assert strict.send(DATA, DATA, DATA).status_code == 200
    assert strict.send(DATA, DATA, DATA, DATA).json()["reason"] == "too_many_images"


def test_other_routes_have_the_same_form(strict):
    for answer, status in ((strict.client.get("/nothing"), 404), (strict.client.get("/predict"), 405)):
        assert answer.status_code == status and set(answer.json()) == {"reason", "detail"}


def test_more_than_the_queue_holds_is_told_when_to_come_again(folder):
    with running(folder, Slow, queue=4, workers=2) as held:
        answers = []

        def ask():
            answers.append(httpx.post(f"http://127.0.0.1:{held.port}/predict", files={"images": DATA}, timeout=20))

        clients = [threading.Thread(target=ask) for _ in range(24)]
        began = time.monotonic()
        for client in clients:
            client.start()
        for client in clients:
            client.join(20)
        assert time.monotonic() - began < 10
        codes = sorted(answer.status_code for answer in answers)
        assert len(codes) == 24 and set(codes) == {200, 503} and codes.count(200) >= 4
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["reason"] == "queue_full" and int(answer.headers["Retry-After"]) >= 1
        assert held.send(DATA).status_code == 200
        assert held.metric("transferkit_requests_total", route="/predict", code="503") == codes.count(503)
        assert held.metric("transferkit_requests_in_flight") == 0


def test_all_bodies_together_are_bounded(folder, monkeypatch):
    from transferkit.serving.settings import Settings

    monkeypatch.setattr(Settings, "buffer_bytes", 5000)
    with running(folder) as held, socket.create_connection(("127.0.0.1", held.port), timeout=10) as other:
        other.sendall(f"{HEAD}Content-Length: 9000\r\n\r\n".encode() + b"x" * 4900)
        time.sleep(0.2)
        answer = held.send(DATA)
        assert (answer.status_code, answer.json()["reason"]) == (503, "memory_full")
        assert "Retry-After" in answer.headers
        other.close()
        deadline = time.monotonic() + 5
        while held.send(DATA).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_key_is_asked_for(folder):
    key = "a key of some length"
    with running(folder, key=key) as held:
        for headers in (
            {},
            {"X-API-Key": "no"},
            {"Authorization": f"Basic {key}"},
            {"Authorization": f"Bearer {key}x"},
        ):
            answer = held.send(DATA, headers=headers)
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            assert held.send(DATA, headers=headers).status_code == 200
        assert held.client.get("/metrics").status_code == held.client.get("/openapi.json").status_code == 401
        assert held.client.get("/health/ready").status_code == held.client.get("/health/live").status_code == 200
        text = held.client.get("/metrics", headers={"X-API-Key": key}).text
        assert 'transferkit_rejects_total{reason="unauthorized"} 6.0' in text and key not in text


def test_an_answer_that_does_not_come(folder):
    with running(folder, Slow, answer_timeout=0.6, workers=1) as held:
        held.service.first.backend.engine.seconds = 1.5
        assert held.send(DATA).json()["reason"] == "slow_answer"
        held.service.first.backend.engine.seconds = 0
        deadline = time.monotonic() + 10
        while held.client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert held.send(DATA).status_code == 200

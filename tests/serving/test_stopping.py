"""SIGTERM: whoever was accepted is answered, nobody else is, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from importlib import import_module
from pathlib import Path
from queue import Queue

import psutil
import pytest
from typer.testing import CliRunner

from transferkit.cli import app

from .conftest import Process, encoded, picture

DATA = encoded(picture(5))
BODY = b'--b\r\nContent-Disposition: form-data; name="images"; filename="x.png"\r\n\r\n' + DATA + b"\r\n--b--\r\n"
REQUEST = (
    "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read(connection):
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


def test_what_was_accepted_is_answered(folder):
    held = Process(folder, program=(str(Path(__file__).with_name("slow_server.py")),))
    children = psutil.Process(held.process.pid).children(recursive=True)
    uploading = [connect(held.port) for _ in range(4)]
    for one in uploading:
        one.sendall(REQUEST[:-100])
    waiting = [connect(held.port) for _ in range(40)]
    for one in waiting:
        one.sendall(REQUEST)
    idle = connect(held.port)
    held.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    for one in uploading:
        one.sendall(REQUEST[-100:])
    with pytest.raises(ConnectionRefusedError):
        connect(held.port)
    answers = [read(one) for one in (*waiting, *uploading)]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 44
    assert all(b'"predictions"' in answer and b"connection: close" in answer.lower() for answer in answers[40:])
    assert read(idle) == b""
    assert held.wait() == 0, held.said
    assert not any(child.is_running() for child in children)


def test_the_command(folder, tmp_path, monkeypatch):
    """In this process: the verb takes the signals while it runs, and gives them back."""
    said, answers, log = Queue(), [], tmp_path / "log.jsonl"
    monkeypatch.setattr(import_module("transferkit.cli.serve"), "note", said.put)
    monkeypatch.setenv("KEY", "k" * 20)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def ask():
        try:
            line = said.get(timeout=30)
            with connect(int(re.search(r"http://127\.0\.0\.1:(\d+) \(torch, cpu\)", line)[1])) as one:
                one.sendall(
                    REQUEST.replace(b"Host: x", b"X-API-Key: " + b"k" * 20 + b"\r\nConnection: close\r\nHost: x")
                )
                answers.append(read(one))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    client = threading.Thread(target=ask, daemon=True)
    client.start()
    options = ["--port", "0", "--log", str(log), "--engine", "torch", "--device", "cpu", "--api-key-env", "KEY"]
    result = CliRunner().invoke(app, ["serve", str(folder), *options])
    client.join(5)
    assert result.exit_code == 0, result.exception
    assert answers[0].startswith(b"HTTP/1.1 200") and len(log.read_text().splitlines()) == 1
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers

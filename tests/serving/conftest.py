"""A guarded model behind real sockets: in a thread of this process, or as a process of its own."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

from transferkit.deploy.loaded import load
from transferkit.serving import server
from transferkit.serving.app import create_app
from transferkit.serving.engine import ONNX
from transferkit.serving.served import LocalBackend
from transferkit.serving.service import open_service
from transferkit.serving.settings import Settings, batching
from transferkit.testing.detector import tiny_guarded


@pytest.fixture(autouse=True, scope="session")
def _short_goodbyes():
    """Servers of this process stop without waiting for late requests; nobody sends any."""
    kept, server.SETTLE = server.SETTLE, 0.0
    yield
    server.SETTLE = kept


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_guarded(tmp_path_factory.mktemp("served") / "model", ["ants", "bees", "cats", "dogs"])


@pytest.fixture(scope="session")
def loaded(folder):
    return load(folder)


@pytest.fixture(scope="session")
def exported(folder, tmp_path_factory):
    """The served folder with its graph beside it."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from transferkit.deploy.export import export_model

    copy = shutil.copytree(folder, tmp_path_factory.mktemp("exported") / "model")
    export_model(copy, "onnx", inputs=["floats"])
    assert (copy / ONNX).is_file()
    return copy


def picture(seed, size=(40, 36)):
    """A colourful picture, another for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


class Running:
    """A server in a thread, and a client for it."""

    def __init__(self, service, uvicorn_server, port):
        self.service = service
        self.server = uvicorn_server
        self.port = port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def send(self, *images, **options):
        files = [("images", (f"{i}.png", image)) for i, image in enumerate(images)]
        return self.client.post("/predict", files=files, **options)

    def metric(self, name, **labels):
        """The value of a counter; None if there is none."""
        wanted = set(labels.items())
        for line in self.client.get("/metrics").text.splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name and wanted <= set(re.findall(r'(\w+)="([^"]*)"', match[2] or "")):
                return float(match[3])
        return None


def slow_down(service, wrap):
    """Put an engine around that of the first model."""
    served, metrics = service.first, service.metrics
    sizes = batching(service.settings, "cpu")
    served.backend = LocalBackend(wrap(served.backend.engine), sizes, metrics.batch_images.labels(served.name).observe)


@contextmanager
def running(folder, wrap=None, key=None, **limits):
    settings = Settings(device="cpu", api_key=key, **limits)
    service = open_service(folder, settings, lambda text: None)
    if wrap is not None:
        slow_down(service, wrap)
    bound = server.listen("127.0.0.1", 0)
    up = threading.Event()
    uvicorn_server = server.draining(create_app(service), service, up.set)
    thread = threading.Thread(target=lambda: uvicorn_server.run(sockets=[bound]), daemon=True)
    thread.start()
    assert up.wait(20)
    held = Running(service, uvicorn_server, bound.getsockname()[1])
    try:
        with held.client:
            yield held
    finally:
        uvicorn_server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def shared(folder):
    """One server for all tests that do no harm."""
    with running(folder) as held:
        yield held


class Process:
    """`transferkit serve` as a process."""

    def __init__(self, *arguments, program=("-m", "transferkit", "serve"), **environment):
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **environment,
            },
        )
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                return
        raise AssertionError("".join(self.said))

    def stop(self, number=signal.SIGTERM, timeout=20):
        self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout=20):
        try:
            self.said += self.process.communicate(timeout=timeout)[1].splitlines(True)
        finally:
            self.process.kill()
        return self.process.returncode

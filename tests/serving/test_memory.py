"""A server of an exported graph loads neither torch nor timm, from the command line to an answer and to its end."""

from __future__ import annotations

import json

import httpx
import pytest

from .conftest import Process, encoded, picture

TELLING = """
import atexit, json, sys
def tell():
    print("LOADED", json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
atexit.register(tell)
from transferkit.cli import main
main()
"""
HEAVY = {"torch", "timm", "torchvision", "matplotlib"}


def loaded_by(folder, *options):
    held = Process(folder, "--port", 0, *options, program=("-c", TELLING, "serve"))
    with httpx.Client(base_url=f"http://127.0.0.1:{held.port}", timeout=30) as client:
        engine = client.get("/health/ready").json()["engine"]
        found = client.post("/predict", files={"a": encoded(picture(1))}).json()["predictions"]
        assert client.get("/").status_code == client.get("/docs").status_code == 200
        pixels = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [1, 2, 3]}
        assert client.post("/v2/models/model/infer", json={"inputs": [pixels]}).status_code == 200
    assert held.stop() == 0
    (line,) = [line for line in held.said if line.startswith("LOADED")]
    return engine, set(json.loads(line.removeprefix("LOADED "))), found


def test_an_exported_graph_is_served_without_torch(exported, shared):
    engine, modules, found = loaded_by(exported)
    assert engine == "onnx" and not HEAVY & modules and {"onnxruntime", "fastapi"} <= modules
    (said,) = shared.send(encoded(picture(1))).json()["predictions"]
    assert found[0]["class"] == said["class"] and found[0]["score"] == pytest.approx(said["score"], abs=1e-5)
    assert (found[0]["flag"], found[0]["source_class"]) == (said["flag"], said["source_class"])


def test_the_model_itself_needs_torch(folder):
    """Or the test above says nothing."""
    engine, modules, _ = loaded_by(folder)
    assert engine == "torch" and {"torch", "timm"} <= modules


@pytest.mark.parametrize(
    "environment, files, expected",
    [({}, (), False), ({}, ("/dev/nvidiactl",), True), ({"CUDA_VISIBLE_DEVICES": ""}, ("/dev/nvidiactl",), False)],
)
def test_torch_is_asked_where_there_may_be_a_gpu(monkeypatch, environment, files, expected):
    from transferkit.serving import opening

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(opening.os.path, "exists", lambda path: path in files)
    monkeypatch.setattr(opening.sys, "platform", "linux")
    assert opening.may_have_gpu() is expected
    monkeypatch.setattr(opening.sys, "platform", "win32")
    assert opening.may_have_gpu() is ("CUDA_VISIBLE_DEVICES" not in environment)

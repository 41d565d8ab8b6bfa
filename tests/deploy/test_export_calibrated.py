"""A graph that divides its logits by the model's temperature: said, applied once, and refused when it is outdated."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image

from transferkit.deploy import portable
from transferkit.deploy.export import export_model, verify_export
from transferkit.deploy.export_folder import read_record
from transferkit.deploy.loaded import load
from transferkit.deploy.temperature import Temperature, write_temperature
from transferkit.errors import InputError
from transferkit.serving.app import create_app
from transferkit.serving.service import open_service
from transferkit.serving.settings import Settings
from transferkit.testing.detector import tiny_guarded
from transferkit.testing.tiny import tiny_images

pytest.importorskip("onnxscript")
T = 2.5
NAMES = ["logits", "score", "source_class"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both plain and calibrated graphs, of both formats. Not to be changed."""
    folder = tiny_guarded(tmp_path_factory.mktemp("calibrated") / "model")
    write_temperature(folder, Temperature(T, 100))
    export_model(folder, "onnx", max_batch=2)
    kept = (folder / "exports" / "model.onnx").read_bytes()
    export_model(folder, "onnx", max_batch=2, calibrated=True)
    export_model(folder, "pt2", inputs=["uint8"], max_batch=2, calibrated=True)
    assert (folder / "exports" / "model.onnx").read_bytes() == kept
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "one.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    return path


def test_logits_are_divided_and_nothing_else(folder):
    images = tiny_images(2, seed=3)
    plain, warm = (
        portable.open_file("onnx", folder / "exports" / f"model{name}.onnx", NAMES, 2)(images.numpy())
        for name in ("", "_calibrated")
    )
    np.testing.assert_allclose(warm["logits"], plain["logits"] / T, rtol=1e-6)
    assert np.array_equal(warm["score"], plain["score"])
    assert np.array_equal(warm["source_class"], plain["source_class"])


def test_the_graph_without_it_is_the_one_of_a_model_without_a_temperature(folder, tmp_path):
    export_model(tiny_guarded(tmp_path / "model"), "onnx", max_batch=2, inputs=["floats"])
    first, second = (
        onnx.load(place / "exports" / "model.onnx").graph.SerializeToString() for place in (folder, tmp_path / "model")
    )
    assert first == second


def test_the_record_and_the_file_say_it(folder):
    record = json.loads((folder / "exports" / "export.json").read_text())
    said = {name: (entry["file"], entry["temperature"]) for name, entry in record["exports"].items()}
    assert said == {
        "onnx": ("model.onnx", None),
        "onnx_uint8": ("model_uint8.onnx", None),
        "onnx_calibrated": ("model_calibrated.onnx", T),
        "onnx_uint8_calibrated": ("model_uint8_calibrated.onnx", T),
        "pt2_uint8_calibrated": ("model_uint8_calibrated.pt2", T),
    }
    inside = {one.key: one.value for one in onnx.load(folder / "exports" / "model_calibrated.onnx").metadata_props}
    assert json.loads(inside["transferkit"])["temperature"] == T
    assert "temperature" not in json.loads(
        {one.key: one.value for one in onnx.load(folder / "exports" / "model.onnx").metadata_props}["transferkit"]
    )
    verify_export(folder / "exports", "onnx", model_dir=folder)


@pytest.mark.parametrize(
    "graph", ["model_calibrated.onnx", "model_uint8_calibrated.onnx", "model_uint8_calibrated.pt2"]
)
def test_predict_beside_it_says_the_calibrated_probability(folder, photo, graph, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict.py", graph, str(photo)])
    runpy.run_path(str(folder / "exports" / "predict.py"), run_name="__main__")
    answer, expected = json.loads(capsys.readouterr().out), load(folder, calibrated=True).predict(photo)
    assert answer["label"] == expected.label
    assert answer["probability"] == pytest.approx(expected.probability, abs=1e-5)
    assert answer["probability"] != pytest.approx(load(folder).predict(photo).probability, abs=1e-3)


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_served_it_is_applied_once(folder, photo, engine, calibrated):
    service = open_service(folder, Settings(engine=engine, device="cpu", calibrated=calibrated), print)
    assert service.first.opened.calibrated is (calibrated and engine == "onnx")

    async def ask():
        transport = httpx.ASGITransport(app=create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            found = await client.post("/predict", content=photo.read_bytes(), headers={"content-type": "image/png"})
            body = {"inputs": [{"name": "images", "shape": [1, 50, 40, 3], "datatype": "UINT8",
                                "data": np.asarray(Image.open(photo)).ravel().tolist()}]}  # fmt: skip
            return found.json(), (await client.post("/v2/models/model/infer", json=body)).json()

    answer, tensors = asyncio.run(ask())
    service.close()
    expected = load(folder, calibrated=calibrated).predict(photo)
    assert answer["predictions"][0]["probability"] == pytest.approx(expected.probability, abs=1e-5)
    logits = np.array(next(one["data"] for one in tensors["outputs"] if one["name"] == "logits"))
    assert np.exp(logits).max() / np.exp(logits).sum() == pytest.approx(expected.probability, abs=1e-5)


def test_another_temperature_or_none_is_refused(tmp_path):
    folder = tiny_guarded(tmp_path / "model")
    with pytest.raises(InputError, match=r"has no calibration\.json"):
        export_model(folder, "onnx", inputs=["floats"], max_batch=2, calibrated=True)
    write_temperature(folder, Temperature(2.0, 100))
    export_model(folder, "onnx", inputs=["floats"], max_batch=2, calibrated=True)
    assert list(read_record(folder / "exports").exports) == ["onnx_calibrated"]
    assert "model_calibrated.onnx" in (folder / "exports" / "config.pbtxt").read_text()
    write_temperature(folder, Temperature(3.0, 100))
    with pytest.raises(InputError, match=r"divides logits by 2, and the temperature of .* is 3; export"):
        verify_export(folder / "exports", model_dir=folder)
    with pytest.raises(InputError, match="divides logits by 2"):
        open_service(folder, Settings(engine="onnx", calibrated=True), print)

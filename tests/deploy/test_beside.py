"""predict.py beside an export answers as the model does, where neither transferkit nor timm can be imported."""

from __future__ import annotations

import itertools
import json
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from transferkit.deploy.export import export_model
from transferkit.deploy.export_folder import PREDICT
from transferkit.deploy.loaded import load
from transferkit.model.folder import save_model
from transferkit.model.preprocessing import Preprocess, Preprocessing
from transferkit.testing.tiny import tiny_model

BLOCKED = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Wide, tall and tiny; turned by EXIF, half transparent, of sixteen bits."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (40, 90, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    wide.save(folder / "turned.png", exif=exif)
    wide.rotate(90, expand=True).save(folder / "tall.jpg")
    Image.fromarray(rng.integers(0, 256, (30, 30, 4)).astype(np.uint8)).save(folder / "clear.png")
    Image.fromarray(rng.integers(0, 65536, (50, 33)).astype(np.uint16)).save(folder / "deep.png")
    Image.new("RGB", (1, 1), "teal").save(folder / "one.png")
    return sorted(folder.iterdir())


def said(script, *arguments, blocked=("transferkit", "timm")):
    argv = [str(script), *map(str, arguments)]
    command = [sys.executable, "-I", "-c", BLOCKED.format(blocked=set(blocked), argv=argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("graph", ["model_uint8.onnx", "model.onnx", "model_uint8.pt2"])
def test_says_what_the_model_says(exported, photos, graph):
    blocked = ["transferkit", "timm", *(["torch"] if graph.endswith("onnx") else [])]
    done = said(exported / "exports" / "predict.py", graph, *photos, blocked=blocked)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    model = load(exported)
    for path, answer, expected in zip(photos, answers, model.predict(photos), strict=True):
        assert answer["path"] == str(path)
        assert (answer["label"], answer["flag"]) == (expected.label, expected.flagged)
        assert answer["source_class"] == expected.source_class
        assert answer["probability"] == pytest.approx(expected.probability, abs=1e-5)
        assert answer["score"] == pytest.approx(expected.score, abs=1e-5)


def test_without_a_detector_and_with_the_graph_that_is_there(photos, tmp_path):
    folder = save_model(tmp_path / "model", tiny_model(), None, {})
    exports = export_model(folder, "onnx", inputs=["floats"], max_batch=2).folder
    (answer,) = map(json.loads, said(exports / "predict.py", photos[0]).stdout.splitlines())
    assert set(answer) == {"path", "label", "logits", "probability"}
    assert answer["label"] == load(folder).predict(photos[0]).label
    shutil.copy(PREDICT, tmp_path / "predict.py")
    done = said(tmp_path / "predict.py", photos[0])
    assert done.returncode == 1 and "there is no graph called model_uint8.onnx or" in done.stderr


def test_its_floats_are_those_of_every_transform():
    made = runpy.run_path(str(PREDICT))["preprocessed"]
    rng = np.random.default_rng(1)
    for mode, pct, interpolation, size, channels in itertools.product(
        ("center", "squash", "border"), (1.0, 0.9), ("bilinear", "nearest"), ((32, 32), (24, 40), (31, 31)), (3, 1)
    ):
        mean, std = ((0.485, 0.456, 0.406), (0.2, 0.3, 0.4)) if channels == 3 else ((0.45,), (0.2,))
        given = Preprocessing(size, mean, std, pct, mode, interpolation, channels)
        width, height = (int(side) for side in np.exp(rng.uniform(0, np.log(200), 2)).round())
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
        found = made(image, given.to_json())
        np.testing.assert_allclose(found[0], Preprocess(given)(image), atol=1e-6, err_msg=f"{given} {image.size}")

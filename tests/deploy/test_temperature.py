"""A temperature in a model folder: applied when asked for, refused when it is of another model, else not seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import transferkit
from transferkit.deploy.temperature import FILE, Temperature, read_temperature, write_temperature
from transferkit.errors import InputError
from transferkit.serving.engine import Outputs
from transferkit.serving.schema import Predictor


@pytest.fixture
def images():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_probabilities_are_the_softmax_of_divided_logits(folder, images):
    before = transferkit.load(folder)(images)
    write_temperature(folder, Temperature(2.5, 100, {"gain": 0.1}))
    plain, warm = transferkit.load(folder)(images), transferkit.load(folder, calibrated=True)(images)
    assert torch.equal(plain.logits, before.logits) and torch.equal(plain.probabilities, before.probabilities)
    assert torch.equal(warm.logits, plain.logits) and torch.equal(warm.flag, plain.flag)
    powers = plain.probabilities.double() ** (1 / 2.5)
    torch.testing.assert_close(warm.probabilities.double(), powers / powers.sum(1, keepdim=True), atol=1e-6, rtol=0)
    found = read_temperature(folder)
    assert (found.temperature, found.images, found.measured) == (2.5, 100, {"gain": 0.1})


def test_the_server_answers_with_the_same(folder):
    outputs = Outputs(np.array([[1.0, 3.0]], np.float32), None, None)
    plain, warm = (Predictor("m", ["a", "b"], None, t).prediction(None, outputs, 2) for t in (1.0, 4.0))
    assert plain.probability == pytest.approx(1 / (1 + np.exp(-2))) and plain.class_ == warm.class_ == "b"
    assert warm.probability == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_without_one_nothing_is_calibrated(folder):
    with pytest.raises(InputError, match=r"has no calibration\.json.*install: true"):
        transferkit.load(folder, calibrated=True)


def test_of_another_model_it_is_refused(folder):
    write_temperature(folder, Temperature(2.0, 100))
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(InputError, match=r"config\.json: not the file that it was fitted for"):
        read_temperature(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 3.0}, "damaged or edited"),
        ({"schema_version": 99}, "upgrade transferkit"),
    ],
)
def test_a_changed_file_is_refused(folder, change, words):
    path = write_temperature(folder, Temperature(2.0, 100))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        read_temperature(folder)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan"), "2"])
def test_what_is_no_temperature_is_not_written(folder, temperature):
    with pytest.raises(InputError):
        write_temperature(folder, Temperature(temperature, 100))
    assert not (folder / FILE).exists()

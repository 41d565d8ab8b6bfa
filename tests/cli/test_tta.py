"""--tta: the mean over views by hand, what it costs, and that without it nothing differs."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from transferkit.deploy.loaded import load


@pytest.fixture
def images_folder(tmp_path):
    for name, side in (("ants", 0), ("bees", 20)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            picture = Image.new("RGB", (40, 36), (200 - 40 * index, 30, 30))
            picture.paste((10, 200, 60 * index), (side, 0, side + 10 + 3 * index, 30))
            picture.save(tmp_path / "data" / name / f"{index}.png")
    return tmp_path / "data"


def test_evaluate_and_predict_average_and_say_what_it_costs(cli, model_folder, images_folder):
    opened = load(model_folder)
    plain = cli("evaluate", model_folder, "--data", images_folder, "--json")
    turned = cli("evaluate", model_folder, "--data", images_folder, "--tta", "flips", "--json")
    assert "passes" not in plain.stderr and "tta" not in json.loads(plain.stdout)
    found = json.loads(turned.stdout)
    assert found["tta"] == {"views": "flips", "passes": 2}
    files = sorted(images_folder.rglob("*.png"))
    pixels = torch.stack([opened.preprocess(Image.open(path)) for path in files])
    means = (opened(pixels).probabilities + opened(pixels.flip(-1)).probabilities) / 2
    labels = torch.tensor([opened.classes.index(path.parent.name) for path in files])
    loss = torch.nn.functional.nll_loss(means.log(), labels)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)
    told = cli("predict", model_folder, images_folder, "--tta", "flips", "--json")
    assert "2 passes for each image instead of 1" in told.stderr
    for one, mean in zip(json.loads(told.stdout), means, strict=True):
        given = {item["class"]: item["probability"] for item in one["predictions"]}
        assert [given[name] for name in opened.classes] == pytest.approx(mean.tolist(), abs=1e-5)

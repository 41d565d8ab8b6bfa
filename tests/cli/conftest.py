"""A tiny model folder, a folder of images and made-up runs."""

from __future__ import annotations

import json

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from transferkit.words.doors import coming_from

COLOURS = {"ants": (200, 30, 30), "bees": (30, 30, 200)}


class Cli:
    """Runs a verb; errors that the real command line explains are raised."""

    def __init__(self, app):
        self.app = app

    def __call__(self, *arguments):
        with coming_from("command line"):
            result = CliRunner().invoke(self.app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


@pytest.fixture(scope="session")
def cli():
    from transferkit.cli import app

    return Cli(app)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    from transferkit.model.folder import save_model
    from transferkit.testing import tiny_model

    folder = tmp_path_factory.mktemp("models") / "model"
    return save_model(folder, tiny_model(["ants", "bees"]), None, {})


@pytest.fixture
def images(tmp_path):
    """data/{train,val}/{ants,bees}/N.png"""
    for split, count in (("train", 4), ("val", 3)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                shade = tuple(min(255, value + 7 * i + (3 if split == "val" else 0)) for value in colour)
                Image.new("RGB", (40, 36), shade).save(folder / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def make_run(tmp_path):
    def make(name, top1=0.9, seed=0, lr=0.01, status="done", **stages):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        entry = {"best": {"epoch": 4, "top1": top1, "loss": 0.3}, "last": {"epoch": 5, "top1": top1 - 0.1, "loss": 0.4}}
        result = {"status": status, "stages": {"target": entry | {"seconds": 75.0}, **stages}}
        (folder / "result.json").write_text(json.dumps(result))
        stage = {"name": "target", "optimizer": {"lr": lr}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": "x", "seed": seed, "stages": [stage]}))
        return folder

    return make

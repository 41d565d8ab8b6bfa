"""A data set that a plugin reads is as good as any other, and the plugin is blamed for what is wrong with it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import offer
from transferkit.data import Contents, open_image
from transferkit.data.sources import open_split
from transferkit.errors import InputError
from transferkit.plugins.registry import Registry
from transferkit.recipe import load_recipe
from transferkit.recipe.counting import class_counts, step_plan

CLASSES = ["dark", "light"]


def picture(paths: list[str], index: int) -> Image.Image:
    return open_image(paths[index])


@dataclass
class Flat:
    """Files `SPLIT-CLASS-NUMBER.png` in one folder."""

    place: Path

    def read(self, split):
        files = sorted(self.place.glob(f"{split}-*.png"))
        if not files:
            return None
        labels = np.array([CLASSES.index(file.stem.split("-")[1]) for file in files])
        paths = [str(file) for file in files]
        return Contents(CLASSES, labels, [file.name for file in files], partial(picture, paths), paths=paths)


@pytest.fixture
def flat(tmp_path) -> Path:
    folder = tmp_path / "flat"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, each in (("train", 6), ("val", 3)):
        for label, name in enumerate(CLASSES):
            for number in range(each):
                pixels = rng.integers(0, 100, (32, 32, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}-{name}-{number}.png")
    return folder


@pytest.fixture
def known() -> Registry:
    registry = Registry()
    offer(registry, "reader", "flat", Flat)
    return registry


def recipe(tmp_path, more="", use="flat, place: flat"):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: read\nmodel: {name: test_resnet, preprocessing: {input_size: 32}}\ndevice: cpu\n"
        f"datasets: {{flat: {{reader: {{use: {use}}}{more}}}}}\n"
        "stages: [{name: one, start: scratch, dataset: flat, epochs: 1, batch_size: 4, workers: 0}]\n"
    )
    return path


def test_counted_before_anything_starts_and_opened_like_other_sources(tmp_path, flat, known):
    loaded = load_recipe(recipe(tmp_path), registry=known)  # the path is relative to the recipe
    datasets = loaded.recipe.datasets
    assert class_counts("flat", datasets) == {"train": {"dark": 6, "light": 6}, "val": {"dark": 3, "light": 3}}
    plan = step_plan(loaded.recipe, loaded.recipe.stages[0])
    assert (plan.steps_per_epoch, plan.validation, plan.carved) == (3, {"dark": 3, "light": 3}, False)
    source = open_split("flat", datasets, "train", ["light", "dark"])
    assert source.labels.tolist() == [1] * 6 + [0] * 6 and source.ids[0] == "train-dark-0.png"
    wanted = np.asarray(Image.open(flat / "train-dark-3.png"))
    assert (np.asarray(source.image(3)) == wanted).all()
    assert pickle.loads(pickle.dumps(source)).image(3).tobytes() == source.image(3).tobytes()
    assert open_split("flat", datasets, "test") is None


def test_the_fingerprint_follows_the_images(tmp_path, flat, known):
    datasets = load_recipe(recipe(tmp_path), registry=known).recipe.datasets
    before = open_split("flat", datasets, "val").fingerprint()
    assert open_split("flat", datasets, "val").fingerprint() == before
    Image.new("RGB", (8, 8)).save(flat / "val-dark-0.png")
    assert open_split("flat", datasets, "val").fingerprint() != before


def test_classes_splits_skipped_images_and_data_sets_made_from_it(tmp_path, flat, known):
    (flat / "train-light-0.png").write_bytes(b"")
    more = ", classes: [light], splits: {test: val}, on_bad_image: skip}, other: {from: flat, on_bad_image: skip"
    text = recipe(tmp_path, more).read_text().replace("dataset: flat", "dataset: other")
    datasets = load_recipe(recipe(tmp_path), registry=known).recipe.datasets
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match="one class"):
        load_recipe(tmp_path / "recipe.yaml", registry=known)
    (tmp_path / "recipe.yaml").write_text(text.replace("classes: [light], ", ""))
    datasets = load_recipe(tmp_path / "recipe.yaml", registry=known).recipe.datasets
    source = open_split("other", datasets, "train")
    assert len(source) == 11 and [bad.class_name for bad in source.bad_images] == ["light"]
    assert open_split("flat", datasets, "test").ids[0] == "val-dark-0.png"


def test_a_stage_trains_on_it_and_its_recipe_opens_again(tmp_path, flat, known):
    from transferkit.api import execute

    done = execute(load_recipe(recipe(tmp_path), registry=known), out=tmp_path / "runs", quiet=True)
    assert done.stages["one"]["images"] == {"train": 12, "val": 6}
    again = load_recipe(done.run_dir / "recipe.yaml", registry=known)
    assert again.recipe.datasets["flat"].reader.options == {"place": str(flat)}


class Broken:
    """Says what a test gives it."""

    given: ClassVar[object] = None

    def read(self, split):
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given


def one(index: int) -> Image.Image:
    return Image.new("L", (4, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ValueError("no header"), "could not read the split train: ValueError: no header"),
        (InputError("no such table"), "could not read the split train: no such table"),
        (SystemExit(3), "could not read the split train: SystemExit: 3"),
        ([1], "must return transferkit.data.Contents or None, not a list"),
        (Contents(["a"], np.array([0, 0]), ["x"], one), "2 labels and 1 ids"),
        (Contents(["a"], np.array([0, 1]), ["x", "y"], one), "labels must lie in 0..0"),
        (Contents(["a"], np.array([0.5]), ["x"], one), "whole numbers"),
        (Contents(["a"], np.array([0, 0]), ["x", "x"], one), 'several images have the id "x"'),
    ],
)
def test_what_is_wrong_is_said_with_place_and_owner(tmp_path, given, said, monkeypatch):
    registry = Registry()
    offer(registry, "reader", "broken", Broken)
    monkeypatch.setattr(Broken, "given", given)
    with pytest.raises(InputError) as refused:
        load_recipe(recipe(tmp_path, use="broken"), registry=registry)
    assert said in str(refused.value) and "reader 'broken' (transferkit-broken 1.0)" in str(refused.value)
    assert "recipe.yaml:4" in str(refused.value)


def test_an_error_at_an_image_keeps_its_kind_and_says_whose_it_is(tmp_path, known):
    @dataclass
    class Late:
        """Fails when an image is read."""

        def read(self, split):
            return Contents(CLASSES, np.array([0, 1, 0, 1]), list("wxyz"), {}.__getitem__)

    offer(known, "reader", "late", Late)
    datasets = load_recipe(recipe(tmp_path, use="late"), registry=known).recipe.datasets
    with pytest.raises(KeyError) as caught:
        open_split("flat", datasets, "train").image(1)
    assert caught.value.__notes__ == ["in the image 1 of the reader 'late' (transferkit-late 1.0)"]


def test_other_modes_become_rgb(tmp_path, known):
    @dataclass
    class Grey:
        """Grey pictures."""

        def read(self, split):
            return Contents(CLASSES, np.array([0, 1, 0, 1]), list("wxyz"), one)

    offer(known, "reader", "grey", Grey)
    datasets = load_recipe(recipe(tmp_path, use="grey"), registry=known).recipe.datasets
    assert open_split("flat", datasets, "train").image(1).mode == "RGB"


def test_planning_needs_no_torch():
    code = "import sys, transferkit.data.readers, transferkit.recipe; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""The how-tos: every recipe plans, every key that a table names exists, frozen layers are there."""

from __future__ import annotations

import io
import re
import tarfile
from fnmatch import fnmatch

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import transferkit
from transferkit.recipe import load_recipe, yaml
from transferkit.recipe.counting import step_plan
from transferkit.recipe.schema import Stage
from transferkit.recipe.tree import Mark

from .pages import DOCS, blocks, page, sections

HOWTO = sorted((DOCS / "howto").glob("*.md"))
RUN = ("csv", "groups", "folds", "webdataset")
"""Pages about data, whose recipes are run as well."""
RECIPES = [
    (path.stem, text)
    for path in [*HOWTO, DOCS / "analyzers.md"]
    for text in blocks(path.read_text(encoding="utf-8"), "yaml")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which data/flowers and data/imagenet have images."""
    folder = tmp_path_factory.mktemp("howto")
    for name, classes in (("flowers", ("daisy", "tulip")), ("imagenet", ("espresso", "tench"))):
        for split in ("train", "val"):
            for one in classes:
                place = folder / "data" / name / split / one
                place.mkdir(parents=True)
                for index in range(20):
                    Image.new("RGB", (8, 8), (index, 0, 0)).save(place / f"{index}.png")
    flowers = folder / "data" / "flowers"
    rows = [path.relative_to(flowers).parts for path in sorted(flowers.rglob("*.png"))]
    lines = [f"{'/'.join(one)},{one[1]},{one[0]}\n" for one in rows]
    (folder / "data" / "flowers.csv").write_text("".join(["path,label,split\n", *lines]))
    for split in ("train", "val"):
        own = [f"{'/'.join(one)} {one[1]}\n" for one in rows if one[0] == split]
        (folder / "data" / f"{split}.txt").write_text("".join(own))
    for name, shard in (("train-000", rows[:20]), ("train-001", rows[20:40]), ("val-000", rows[40:])):
        (folder / "data" / "shards").mkdir(exist_ok=True)
        with tarfile.open(folder / "data" / "shards" / f"{name}.tar", "w") as tar:
            for number, one in enumerate(shard):
                tar.add(flowers / "/".join(one), f"{number}.png")
                label = tarfile.TarInfo(f"{number}.cls")
                label.size = len(one[1])
                tar.addfile(label, io.BytesIO(one[1].encode()))
    parquet = pytest.importorskip("pyarrow.parquet")
    from pyarrow import table

    (folder / "data" / "parquet").mkdir()
    for split in ("train", "validation"):
        images = [
            {"path": None, "bytes": (flowers / "/".join(one)).read_bytes()} for one in rows if split.startswith(one[0])
        ]
        species = [one[1] for one in rows if split.startswith(one[0])]
        parquet.write_table(
            table({"image": images, "species": species}), folder / "data" / "parquet" / f"{split}.parquet"
        )
    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, folder / "resnet50.safetensors")
    (folder / "surer.py").write_text(blocks(page("analyzers"), "python")[0])
    return folder


@pytest.mark.parametrize(("name", "text"), RECIPES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(RECIPES)])
def test_every_recipe_plans(folder, name, text):
    path = folder / f"{name}.yaml"
    path.write_text(text)
    loaded = load_recipe(path, allow_plugins=True)
    for stage in loaded.recipe.stages:
        steps = step_plan(loaded.recipe, stage).total_steps
        assert steps is None if loaded.recipe.datasets[stage.dataset].hf else steps > 0
        loaded.plugins(stage)
    assert len(loaded.analyses()) == text.count("{use: ") - text.count("      - {use: ")


@pytest.mark.parametrize(("name", "text"), [one for one in RECIPES if one[0] in RUN], ids=str)
def test_recipes_about_data_run(folder, tmp_path, name, text):
    path = folder / f"{name}.yaml"
    path.write_text(text)
    small = {"model.name": "test_resnet", "model.preprocessing": {"input_size": 8}, "stages.target.epochs": 1}
    done = transferkit.run(
        path,
        out=tmp_path,
        quiet=True,
        device="cpu",
        **small,
        **{"stages.target.start": "scratch", "stages.target.head_init": "default"},
    )
    assert done.stages["target"]["images"] == {
        "train": 32 if name == "folds" else 40,
        "val": 8 if name == "folds" else 40,
    }


@pytest.mark.parametrize("path", HOWTO, ids=lambda path: path.stem)
def test_every_page_is_short_and_has_something_to_try(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.split()) <= 700
    assert blocks(text, "yaml")


def rows():
    for heading in ("timm's `train.py`", "Lightning", "TLLib"):
        for line in sections(page("howto/from_elsewhere"))[heading].splitlines():
            if line.startswith("| `"):
                yield line.split(" | ", 1)[1].rstrip(" |")


@pytest.mark.parametrize("here", list(rows()))
def test_every_key_of_the_tables_is_one(here):
    for text in re.findall(r"`([^`]+)`", here):
        content = yaml.parse(text, Mark("row")).plain()
        if not isinstance(content, dict):
            continue
        recipe = {
            "name": "row",
            "model": {"name": "resnet50"},
            "datasets": {"w": {"world": {"kind": "target", "train": 20, "val": 4}}},
        }
        stage = {"name": "a", "dataset": "w", "epochs": 20}
        recipe |= {key: value for key, value in content.items() if key not in Stage.model_fields or key == "model"}
        stage |= {key: value for key, value in content.items() if key in Stage.model_fields and key != "model"}
        if "weights" in recipe["model"]:
            recipe["model"].pop("weights")
        load_recipe(recipe | {"stages": [stage]})


def test_frozen_layers_are_those_of_the_model():
    import timm
    import torch

    with torch.device("meta"):
        names = [name for name, _ in timm.create_model("resnet50").named_parameters()]
    for patterns in re.findall(r"freeze: (\[.*\])", page("howto/freeze")):
        for pattern in yaml.parse(patterns, Mark("freeze")).plain():
            assert any(fnmatch(name, pattern) for name in names), pattern

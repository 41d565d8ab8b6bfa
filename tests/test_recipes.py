"""Every recipe that ships parses, plans, and runs its first two steps."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from transferkit.api import execute
from transferkit.recipe import load_recipe
from transferkit.recipe.places import places_in
from transferkit.recipe.schema import Stage

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(
    path for path in (ROOT / "recipes").rglob("*.yaml") if "Not a recipe by itself" not in path.read_text("utf-8")
)
NAMES = [path.relative_to(ROOT / "recipes").as_posix() for path in RECIPES]


SOURCE = ["a", "b", "c"]  # the classes of the source model in these tests
TASKS = {
    "cifar": SOURCE,
    "vehicles_1": ["bicycle", "bus", "motorcycle", "pickup_truck", "train"],
    "vehicles_2": ["lawn_mower", "rocket", "streetcar", "tank", "tractor"],
    "herbivores": ["camel", "cattle", "chimpanzee", "elephant", "kangaroo"],
    "carnivores": ["bear", "leopard", "lion", "tiger", "wolf"],
    "flowers": ["orchid", "poppy", "rose", "sunflower", "tulip"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`target`: two classes, six training and two validation images each. `imagenet`: two of the source's classes.

    `ten`: the same two in splits, with a class list. NAME.npz: five classes of small images per CIFAR task.
    """
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for name in ("left", "right"):
            (root / "target" / split / name).mkdir(parents=True)
            for index in range(count):
                noise(rng, root / "target" / split / name / f"{index}.png")
    for name in SOURCE[:2]:
        (root / "imagenet" / name).mkdir(parents=True)
        for index in range(2):
            noise(rng, root / "imagenet" / name / f"{index}.png")
    for split, name in itertools.product(("train", "val"), SOURCE[:2]):
        (root / "ten" / split / name).mkdir(parents=True)
        for index in range(4):
            noise(rng, root / "ten" / split / name / f"{index}.png")
    (root / "classes.csv").write_text("index,wnid,name\n0,a,alpha\n1,b,beta\n2,c,gamma\n")
    for name, classes in TASKS.items():
        labels = np.repeat(np.arange(len(classes)), 4)
        images = rng.integers(0, 255, (len(labels), 32, 32, 3)).astype(np.uint8)
        arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
        np.savez(root / f"{name}.npz", classes=np.array(classes), **arrays)
    return root


def noise(rng: np.random.Generator, path: Path) -> None:
    Image.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path)


def smaller(recipe: str, folder: Path) -> list[str]:
    """Overrides that put data in place and make a recipe small: the same plugins, schedules and stages."""
    overrides = ["device=cpu"]
    content = yaml.safe_load((ROOT / "recipes" / recipe).read_text(encoding="utf-8"))
    own = [use["use"] for use in content.get("analyses") or []]
    named = [use.get("name", use["use"]) for use in content.get("analyses") or [] if use["use"] == "distraction"]
    overrides += [f"analyses.{name}.{one}" for name in named for one in ("composites=4", "gallery=1")]
    overrides += ["analyses.confusion.limit=4"] if "confusion" in own else []
    if recipe in ("feature_erosion_cifar10.yaml", "dfr_cifar10.yaml"):
        return [*overrides, "preset=small", "repeat=1", "model.weights=null", f"datasets.clean.npz={folder}/cifar.npz"]
    if recipe == "feature_erosion_imagenet.yaml":
        data = [f"datasets.ten.{key}" for key in (f"folder={folder}/ten", f"labels={folder}/classes.csv", "classes=2")]
        return [*overrides, *data, "model.name=transferkit_resnet20"]
    if recipe == "task_interpolation_cifar100.yaml":
        data = [f"datasets.{name}.npz={folder}/{name}.npz" for name in TASKS if name != "cifar"]
        arms = [stage["name"] for stage in content["stages"] if "curriculum" in stage]
        return [
            *overrides,
            "preset=small",
            "repeat=1",
            *data,
            *(f"stages.{arm}.curriculum.lams=[0, 1]" for arm in arms),
        ]
    if recipe == "synthetic_regression.yaml":
        small = [f"datasets.{name}.synthetic.train=64" for name in ("source", "target", "target_plain")]
        small += [f"datasets.{name}.synthetic.val=32" for name in ("source", "target", "target_plain")]
        few = ["analyses.spurious.instances=2", "stages.interpolation.curriculum.lams=[0.5, 1]", "repeat=1"]
        return [*overrides, *small, *few]
    if recipe == "permuted_digits.yaml":
        sizes = [f"datasets.digits.world.{split}=4" for split in ("train", "val")]
        return [*overrides, "preset=small", "repeat=1", *sizes]
    drawn = [name for name, spec in (content.get("datasets") or {}).items() if "world" in spec]
    if drawn:
        return [*overrides, *(f"datasets.{name}.world.{split}=4" for name in drawn for split in ("train", "val"))]
    if recipe in ("feature_spectra.yaml", "bss_methods.yaml"):  # batches of four images
        stages = [stage["name"] for stage in content["stages"]]
        few = [f"stages.{name}.{key}" for name in stages for key in ("fraction=1", "validation=0.25")]
        few += [f"stages.{name}.regularizers.bss.k=2" for name in stages if name.startswith("bss-k")]
        few += [
            f"stages.{name}.regularizers.tsvd.r=2" for name in stages if name.startswith("tsvd-") and "1-" not in name
        ]
        preset = ["preset=small"] if recipe == "feature_spectra.yaml" else []
        data = [f"datasets.images.npz={folder}/carnivores.npz", "model.weights=null"]
        return [*overrides, *preset, "repeat=1", *data, *few]
    if recipe == "two_architectures.yaml":
        data = [f"datasets.task.npz={folder}/vehicles_1.npz", f"datasets.source.npz={folder}/cifar.npz"]
        return [*overrides, "repeat=1", *data, *(f"stages.{name}.model.weights=null" for name in ("small", "large"))]
    if recipe == "forget_on_demand.yaml":
        data = [f"datasets.cifar10.npz={folder}/cifar.npz", f"datasets.flowers.npz={folder}/flowers.npz"]
        classes = ["stages.heads-forget.edits.leace.classes=[a]", "stages.features-forget.edits.unlearn.classes=[a]"]
        return [*overrides, "model.weights=null", *data, *classes]
    names = {"cats_vs_dogs.yaml": ["cats_dogs", "imagenet"]}.get(recipe, ["images"])
    names = ["ants_bees", "imagenet"] if recipe.startswith("ants_bees") else names
    for name in names:
        overrides.append(f"datasets.{name}.folder={folder / ('imagenet' if name == 'imagenet' else 'target')}")
    overrides += ["model.preprocessing.input_size=64", "model.weights=null"]
    if not recipe.startswith("ants_bees"):
        overrides += ["model.name=resnet10t"]
    if "delta" in recipe:
        overrides += ["stages.target.regularizers.delta.layers=null"]  # those are of a ResNet-50
    return overrides


@pytest.mark.parametrize("name", NAMES)
def test_it_plans(name: str, folder: Path) -> None:
    loaded = load_recipe(ROOT / "recipes" / name, smaller(name, folder))
    assert loaded.recipe.stages
    for stage in loaded.recipe.stages:
        uses = [use for place in places_in(Stage) for use in place.uses(stage)]
        assert len(loaded.plugins(stage).plugins) == len(uses)


# the thirty recipes of the BSS paper differ in data and method only: every data set once, every method once
RUN = [name for name in NAMES if "/" not in name or name.startswith("cub/")]


@pytest.mark.parametrize("name", RUN)
def test_it_runs_its_first_two_steps(name: str, folder: Path, tmp_path: Path) -> None:
    overrides = smaller(name, folder)
    recipe = load_recipe(ROOT / "recipes" / name, overrides).recipe
    for stage in recipe.stages:
        if not stage.trains:
            continue
        overrides += [
            f"stages.{stage.name}.epochs=null",
            f"stages.{stage.name}.steps=2",
            f"stages.{stage.name}.batch_size=4",
            f"stages.{stage.name}.workers=0",
            f"stages.{stage.name}.schedule.warmup=0",
        ]
        if stage.start == "pretrained":  # no network in tests: the same code path from a model folder
            overrides.append(f"stages.{stage.name}.start={source_model(recipe.model, tmp_path)}")
        overrides += [
            f"stages.{stage.name}.regularizers.{use.instance_name}.attention_images=4"
            for use in stage.regularizers
            if use.use == "delta"
        ]
    result = execute(load_recipe(ROOT / "recipes" / name, overrides), out=tmp_path / "runs", quiet=True)
    assert result.status == "done"
    assert all(result.stages[stage.name]["steps"] == (2 if stage.trains else 0) for stage in recipe.stages)


def source_model(spec, tmp_path: Path) -> Path:
    from transferkit.model import build
    from transferkit.model.folder import save_model

    model, head = build(spec, weights="scratch", source_classes=SOURCE, classes=None)
    return save_model(tmp_path / "source", model, head)


def test_editor_modelines_point_to_the_schema() -> None:
    for path in RECIPES:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
        assert found, path
        assert (path.parent / found[1]).resolve() == ROOT / "docs" / "transferkit.schema.json"


def test_the_paper_recipes_are_its_six_methods() -> None:
    for name in ("cub", "stanford_dogs", "stanford_cars", "oxford_pets", "aircraft"):
        variants = {path.stem for path in (ROOT / "recipes" / name).glob("*.yaml")}
        assert variants == {"l2_bss", "l2_sp", "l2_sp_bss", "delta", "delta_bss"}

"""recipes.md: every key is explained, the tables have them all, whole recipes in it are valid."""

from __future__ import annotations

import importlib.util
import re

import pytest

from transferkit.errors import InputError
from transferkit.recipe import load_recipe, yaml
from transferkit.recipe.tree import Mark

from .pages import DOCS, blocks, page

SPEC = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)
SECTIONS = reference.sections()
KEYS = [(cls, info.alias or name, info) for cls in SECTIONS for name, info in cls.model_fields.items()]
YAML = blocks(page("recipes"), "yaml") + blocks(page("regularizers"), "yaml")


def test_the_tables_go_into_the_page_and_have_every_key():
    assert page("recipes").count(reference.MARKER) == 1
    tables = reference.tables()
    assert all(f"| `{key}` |" in tables for _, key, _ in KEYS)
    assert tables.count("\n### ") + 1 == len(SECTIONS) > 20
    assert "| `batch_size` | whole number ≥ 1 | `32` |" in tables
    assert "| `shape` | `linear`, `cosine` |" in tables


@pytest.mark.parametrize(
    ("section", "key", "info"), KEYS, ids=lambda value: getattr(value, "__name__", str(value))[:30]
)
def test_a_key_without_a_description_is_explained_in_the_text(section, key, info):
    inner = list(reference.inner_sections(info.annotation))
    if info.description or inner:
        return
    text = page("recipes") + page("training") + page("chains")
    assert re.search(rf"`[^`\n]*\b{re.escape(key)}\b[^`\n]*`", text), f"neither page explains {section.__name__}.{key}"


@pytest.mark.parametrize("text", YAML)
def test_every_example_is_yaml(text):
    yaml.parse(text, Mark("example", 1, 1, DOCS))


@pytest.mark.parametrize("text", [text for text in YAML if text.count("stages:") and "extends" not in text])
def test_whole_recipes_are_valid_but_for_missing_images(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    try:
        load_recipe(tmp_path / "recipe.yaml")
    except InputError as error:
        assert "there is no folder" in str(error) and len(error.problems) == 1


def test_the_presets_shown_change_the_recipe_shown(tmp_path):
    flowers, sized = (next(text for text in YAML if f"# {name}.yaml" in text) for name in ("flowers", "flowers_sized"))
    world = "{world: {kind: target, train: 20, val: 10, size: 48}}"
    (tmp_path / "flowers.yaml").write_text(flowers.replace("{folder: data/flowers}", world), encoding="utf-8")
    (tmp_path / "flowers_sized.yaml").write_text(sized, encoding="utf-8")

    def target(*overrides):
        recipe = load_recipe(tmp_path / "flowers_sized.yaml", overrides).recipe
        return recipe.stage("target").epochs, recipe.stage("target").fraction, recipe.threads

    assert target() == target("preset=null") == (20, 1.0, None)
    assert target("preset=long") == (100, 1.0, None)
    (command,) = (text for text in blocks(page("recipes"), "console") if "preset=" in text)
    assert target(*command.split()[4:]) == (3, 0.1, 1)


def test_the_errors_shown_are_those_that_appear(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers.yaml").write_text(MISTAKEN, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe("flowers.yaml")
    (shown,) = blocks(page("recipes"), "text")
    assert re.sub("available: .*", "", str(caught.value)) == re.sub("available: .*", "", shown.strip())


MISTAKEN = """\
name: flowers
model: {name: resnet10t}
datasets:
  flowers: {world: {kind: target, train: 20, val: 10, size: 48}}
stages:
  - name: target
    dataset: flowers
    epoch: 20
    optimizer: {name: sgd, lr: 1e-3, head_lr_multiplyer: 10}
    schedule: {name: step}
    regularizers:
      - {use: l2sp, weight: 0.01}
      - {use: bss, weight: 0.001, k: 64}
"""


def test_the_networks_that_timm_lacks_are_listed_with_their_sizes():
    import timm
    from torch import nn

    import transferkit.model.nets  # noqa: F401 - registers them

    rows = re.findall(r"^\| `(transferkit_\w+)` \| (\d+) \| ([\d,]+) \|", page("recipes"), flags=re.MULTILINE)
    found = {}
    for name in timm.list_models("transferkit_*"):
        net = timm.create_model(name)
        layers = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in net.modules())
        found[name] = (layers, sum(parameter.numel() for parameter in net.parameters()))
    assert {name: (int(layers), int(size.replace(",", ""))) for name, layers, size in rows} == found

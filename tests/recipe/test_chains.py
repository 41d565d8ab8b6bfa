"""Keys of stages that go on from each other: what each needs is said when the recipe is read."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .small_recipes import registry_of

CHAIN = """\
name: chain
model: {name: resnet18}
datasets: {pets: {folder: pets}}
stages:
  - {name: first, dataset: pets, epochs: 3, batch_size: 4, keep: last}
  - {name: second, start: first, dataset: pets, epochs: 2, carry_on: [optimizer, schedule], head_init: source,
     evaluate_at: [0, 3], evaluate_images: 2}
"""
CARRY = "stages.second.carry_on"


def test_a_chain_that_fits(load):
    first, second = load(text=CHAIN).recipe.stages
    assert (first.keep, second.keep) == ("last", "best")
    assert second.carry_on == ["optimizer", "schedule"] and second.evaluate_at == [0, 3]
    assert first.carry_on == [] and first.evaluate_at == [] and first.evaluate_images is None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["stages.first.keep=best"],
            f'{CARRY}: goes on from the end of "first", but that stage keeps its best epoch\n'
            "    give the stage first keep: last",
        ),
        (
            ["stages.first.optimizer.name=adamw"],
            f'{CARRY}: "first" has the optimizer adamw, this stage sgd\n'
            "    use the same optimizer, or leave optimizer out of carry_on",
        ),
        (
            ["stages.first.optimizer.layer_decay=0.9"],
            f'{CARRY}: one of "first" and this stage has optimizer.layer_decay, the other has not\n'
            "    give both one, or leave optimizer out of carry_on",
        ),
        (
            ["stages.second.start=pretrained"],
            f"{CARRY}: needs an earlier stage to go on from, but start is pretrained\n    start: NAME of a stage",
        ),
        (
            ["stages.second.evaluate_at=[3, 0]"],
            "stages.second.evaluate_at: must be in increasing order, each step once",
        ),
        (
            ["stages.second.evaluate_at=[3, 3]"],
            "stages.second.evaluate_at: must be in increasing order, each step once",
        ),
        (
            ["stages.second.evaluate_at=[-1]", "stages.second.evaluate_images=null"],
            "stages.second.evaluate_at.0: must be at least 0, not -1",
        ),
        (
            ["stages.second.evaluate_at=[]"],
            "stages.second.evaluate_images: does nothing without evaluate_at\n    evaluate_at: [0, 10, 30, 100]",
        ),
        (
            ["stages.first.start=scratch", "stages.first.head_init=source"],
            "stages.first.head_init: source needs the head of a source model, but start is scratch",
        ),
        (
            ["stages.first.start=scratch", "stages.first.head_init=ridge"],
            "stages.first.head_init: ridge needs features of a source model, but start is scratch",
        ),
        (["stages.second.keep=worst"], 'stages.second.keep: must be best or last, not "worst"'),
    ],
)
def test_one_mistake(overrides, expected, errors):
    found = errors(*overrides, text=CHAIN)
    assert found.endswith("1 problem; nothing was started.")
    assert expected in found


def test_a_folder_is_no_stage_to_carry_on_from(errors, place):
    (place / "model").mkdir()
    found = errors(f"stages.second.start={place / 'model'}", text=CHAIN)
    assert f'{CARRY}: needs a stage of this recipe to go on from, and "{place / "model"}" is none' in found


def test_other_optimizers_and_layer_decays_are_fine_where_only_the_schedule_goes_on(load):
    load(
        "stages.second.carry_on=[schedule]",
        "stages.first.optimizer={name: adamw, layer_decay: 0.9}",
        text=CHAIN,
    )


@dataclass
class Changes:
    def transform_features(self, features):
        return features


@dataclass
class Pulls:
    def penalty(self, features):
        return features.sum()


@dataclass
class Both(Changes):
    def penalty(self, features):
        return features.sum()


@pytest.fixture
def plugins():
    return registry_of(regularizer={"changes": Changes, "pulls": Pulls, "both": Both})


def weighted(entry: str) -> str:
    return CHAIN.rstrip().removesuffix("}") + f", regularizers: [{entry}]}}\n"


@pytest.mark.parametrize("entry", ["{use: changes}", "{use: pulls, weight: 1}", "{use: both, weight: {a: 1}}"])
def test_only_what_adds_to_the_loss_has_a_weight(load, plugins, entry):
    loaded = load(text=weighted(entry), registry=plugins)
    (use,) = loaded.recipe.stages[1].regularizers
    assert (use.weight is None) == ("changes" in entry)
    assert load(text=loaded.dump(), path="again.yaml", registry=plugins).recipe == loaded.recipe


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{use: pulls}", "stages.second.regularizers.pulls.weight: is missing"),
        ("{use: both}", "stages.second.regularizers.both.weight: is missing"),
        ("{use: pulls, weight: null}", "stages.second.regularizers.pulls.weight: is missing"),
        (
            "{use: changes, weight: 0.1}",
            "stages.second.regularizers.changes.weight: changes adds nothing to the loss, so it has no weight\n"
            "    leave it out",
        ),
    ],
)
def test_a_weight_that_is_missing_or_too_much(errors, plugins, entry, expected):
    found = errors(text=weighted(entry), registry=plugins)
    assert expected in found and found.endswith("1 problem; nothing was started.")

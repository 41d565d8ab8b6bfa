"""Recipes about tables: what suits them, and a sentence for each thing that does not."""

from __future__ import annotations

import pytest

from transferkit.recipe.counting import step_plan

TABLE = """\
name: numbers
model: {name: transferkit_mlp}
datasets:
  rows: {synthetic: {task: target, train: 100, val: 20}}
  again: {from: rows}
  pets: {folder: pets}
stages:
  - {name: learn, start: scratch, dataset: rows, epochs: 2, batch_size: 10, loss: {name: mse}}
"""
NEEDS = 'needs classes, but the data set "rows" is a table of numbers'


def test_a_table_is_planned(load):
    loaded = load(text=TABLE)
    plan = step_plan(loaded.recipe, loaded.recipe.stage("learn"))
    assert plan.train == {"y": 100} and plan.validation == {"y": 20}
    assert plan.steps_per_epoch == 10 and plan.total_steps == 20


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["stages.learn.loss.name=cross_entropy"],
            'stages.learn.loss.name: cross_entropy needs classes, but the data set "rows" is a table of numbers\n'
            "    loss: {name: mse}",
        ),
        (
            ["stages.learn.dataset=pets"],
            'stages.learn.loss.name: mse needs numbers to learn, but the data set "pets" has classes',
        ),
        (["stages.learn.loss.label_smoothing=0.1"], f"stages.learn.loss.label_smoothing: {NEEDS}"),
        (["stages.learn.balance=sampling"], f"stages.learn.balance: {NEEDS}"),
        (["stages.learn.mixup={mixup: 0.2}"], f"stages.learn.mixup: {NEEDS}"),
        (
            ["stages.learn.early_stopping={patience: 2, metric: top1}"],
            f"stages.learn.early_stopping.metric: {NEEDS}",
        ),
        (
            ["stages.learn.augmentation.color_jitter=0.4"],
            "stages.learn.augmentation: is for images; the rows of a table stay as they are",
        ),
        (
            ["stages.learn.evaluate=[pets]"],
            'stages.learn.evaluate.0: "pets" holds images, but "rows", which the stage learns, is a table',
        ),
        (
            ["stages.learn.dataset=pets", "stages.learn.loss.name=bce", "stages.learn.evaluate=[again]"],
            'stages.learn.evaluate.0: "again" is a table, but "pets", which the stage learns, holds images',
        ),
        (
            ["datasets.rows.synthetic.permuted=51"],
            "datasets.rows.synthetic.permuted: 51 columns cannot be permuted: there are 50",
        ),
        (["datasets.again.classes=3"], "datasets.again.classes: a table has no classes"),
        (
            ["datasets.again.corruptions=[{use: patch}]"],
            "datasets.again.corruptions: are planted in images, and this is a table",
        ),
        (
            ["analyses=[{use: memory}]"],
            'analyses.memory.use: looks at images and their classes, but "rows" is a table of numbers',
        ),
        (
            ["stages.learn.dataset=pets", "stages.learn.loss.name=bce", "analyses=[{use: memory, dataset: rows}]"],
            'analyses.memory.use: looks at images and their classes, but "rows" is a table of numbers',
        ),
    ],
)
def test_what_does_not_suit_gets_one_sentence(overrides, expected, errors):
    found = errors(*overrides, text=TABLE)
    assert expected in found
    assert "1 problem; nothing was started." in found


def test_a_ridge_head_needs_classes(errors):
    assert f"stages.learn.head_init: {NEEDS}" in errors("stages.learn.head_init=ridge", text=TABLE)


def test_patience_without_a_metric_watches_the_loss(load):
    assert load("stages.learn.early_stopping={patience: 2}", text=TABLE).recipe

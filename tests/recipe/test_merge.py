"""`extends` and command-line overrides."""

from __future__ import annotations

import pytest


def write(place, **files: str) -> None:
    for name, text in files.items():
        (place / f"{name}.yaml").write_text(text)


def test_mappings_merge_and_the_rest_replaces(load, place):
    write(place, mine="extends: recipe.yaml\nmodel: {weights: null}\nstages: {target: {optimizer: {momentum: 0.5}}}\n")
    recipe = load(path="mine.yaml").recipe
    assert recipe.model.name == "resnet18"
    assert (recipe.stages[0].optimizer.lr, recipe.stages[0].optimizer.momentum) == (1e-3, 0.5)
    assert [stage.name for stage in recipe.stages] == ["target", "second"]


def test_plugins_change_by_name_or_all_at_once(load, place):
    write(
        place,
        one="extends: recipe.yaml\nstages: {target: {regularizers: {spectral: {k: 3}}}}\n",
        all="extends: recipe.yaml\nstages: {target: {regularizers: [{use: pull, weight: 2}]}}\n",
    )
    pull, spectral = load(path="one.yaml").recipe.stages[0].regularizers
    assert (pull.weight, spectral.options["k"]) == (0.01, 3)
    assert [use.weight for use in load(path="all.yaml").recipe.stages[0].regularizers] == [2]


def test_several_are_merged_from_left_to_right(load, place):
    write(
        place,
        a="seed: 1\ndescription: a\n",
        b="seed: 2\n",
        mine="extends: [recipe.yaml, a.yaml, b.yaml]\ndevice: cpu\n",
    )
    recipe = load(path="mine.yaml").recipe
    assert (recipe.seed, recipe.description, recipe.device) == (2, "a", "cpu")


def test_origins_name_the_file(load, place):
    write(place, mine="extends: recipe.yaml\nstages: {target: {epochs: 9}}\n")
    loaded = load(path="mine.yaml")
    assert loaded.origin("stages.target.epochs") == "mine.yaml:2:27"
    assert loaded.origin("stages.target.batch_size") == "recipe.yaml:12:17"
    assert "extends" not in loaded.dump()


def test_a_weight_schedule_is_not_mixed_with_terms(load):
    recipe = load("stages.target.regularizers.spectral.weight={backbone: 1}").recipe
    assert recipe.stages[0].regularizers[1].weight == {"backbone": 1}


def test_another_plugin_shares_no_options_with_the_one_it_replaces(load):
    recipe = load("stages.target.regularizers.spectral={use: remember, weight: 1, strength: 2}").recipe
    assert recipe.stages[0].regularizers[1].options == {"strength": 2.0, "maps": None}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"mine": "extends: b.yaml\n", "b": "extends: mine.yaml\n"},
            "b.yaml:1:10  extends goes round in a circle: mine.yaml -> b.yaml -> mine.yaml",
        ),
        ({"mine": "extends: mine.yaml\n"}, "mine.yaml:1:10  extends goes round in a circle: mine.yaml -> mine.yaml"),
        (
            {"mine": "extends: a.yaml\n", "a": "extends: b.yaml\n", "b": "extends: c.yaml\n", "c": "extends: d.yaml\n"},
            "c.yaml:1:10  extends is more than 3 deep: mine.yaml -> a.yaml -> b.yaml -> c.yaml -> d.yaml",
        ),
        (
            {"mine": "extends: recipes.yaml\n"},
            'mine.yaml:1:10  extends: there is no file "recipes.yaml"\n    did you mean "recipe.yaml"?',
        ),
        ({"mine": "extends: {a: 1}\n"}, "mine.yaml:1:10  extends: a file name is needed"),
        (
            {"mine": "extends: recipe.yaml\nstages: {traget: {epochs: 1}}\n"},
            'mine.yaml:2:10  there is no "traget" in the list that this changes\n    did you mean "target"?',
        ),
    ],
)
def test_what_extends_refuses(files, message, errors, place):
    write(place, **files)
    text = errors(path="mine.yaml")
    assert text.startswith(message)
    assert text.endswith("1 problem; nothing was started.")


def test_three_deep_is_allowed(load, place):
    write(place, c="extends: b.yaml\nseed: 3\n", b="extends: a.yaml\n", a="extends: recipe.yaml\n")
    assert load(path="c.yaml").recipe.seed == 3


@pytest.mark.parametrize(
    ("argument", "read", "expected"),
    [
        ("stages.target.epochs=5", lambda r: r.stages[0].epochs, 5),
        ("stages.0.epochs=5", lambda r: r.stages[0].epochs, 5),
        ("stages[0].epochs=5", lambda r: r.stages[0].epochs, 5),
        ("stages.target.optimizer.lr=1e-2", lambda r: r.stages[0].optimizer.lr, 0.01),
        ("stages.target.regularizers.spectral.k=3", lambda r: r.stages[0].regularizers[1].options["k"], 3),
        ("stages.target.regularizers.1.k=3", lambda r: r.stages[0].regularizers[1].options["k"], 3),
        ("stages.target.ema.decay=0.9", lambda r: r.stages[0].ema.decay, 0.9),
        ("stages.target.early_stopping={patience: 2}", lambda r: r.stages[0].early_stopping.patience, 2),
        ("stages.target.evaluate=[pets, noisy]", lambda r: r.stages[0].evaluate, ["pets", "noisy"]),
        ("model.weights=null", lambda r: r.model.weights, None),
        ("model.weights=", lambda r: r.model.weights, None),
        ("description=on", lambda r: r.description, "on"),
        ("description=a=b", lambda r: r.description, "a=b"),
        ("stages.second={epochs: 7}", lambda r: (r.stages[1].epochs, r.stages[1].start), (7, "target")),
        ("~stages.target.regularizers.spectral", lambda r: [u.use for u in r.stages[0].regularizers], ["pull"]),
        ("~stages.target.batch_size", lambda r: r.stages[0].batch_size, 32),
        (
            "+stages.second.regularizers={use: pull, weight: 1}",
            lambda r: [u.use for u in r.stages[1].regularizers],
            ["pull"],
        ),
        (
            "+stages.target.regularizers={use: pull, name: again, weight: 1}",
            lambda r: [u.instance_name for u in r.stages[0].regularizers],
            ["pull", "spectral", "again"],
        ),
    ],
)
def test_overrides(argument, read, expected, load):
    assert read(load(argument).recipe) == expected


def test_overrides_apply_in_order(load):
    recipe = load(
        "+stages.target.regularizers={use: pull, name: more, weight: 1}", "stages.target.regularizers.more.weight=2"
    )
    assert recipe.recipe.stages[0].regularizers[2].weight == 2


def test_names_with_dots(load, place):
    text = (place / "recipe.yaml").read_text().replace("name: second", "name: second.v1.5")
    assert load("stages.second.v1.5.epochs=4", text=text).recipe.stages[1].epochs == 4


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed", "this is not an override\n    write key=value, +list=item to append, or ~key to remove"),
        ("=3", "this is not an override"),
        ("~seed=3", "this is not an override"),
        ("+seed", "this is not an override"),
        ("a..b=3", "this is not an override"),
        ("+name=3", "name is not a list, so nothing can be appended"),
        ("~stages.target.clip", "stages.target.clip is not in the recipe, so it cannot be removed"),
        ("~stages.target.batch", 'cannot be removed\n    did you mean "batch_size"?'),
        ("name.x=3", "name is a single value, so it has no x"),
        ("stages.9.epochs=3", 'stages has no item "9"'),
        ("stages.target.regularizers.l2.k=2", 'stages.target.regularizers has no item "l2"'),
        (
            "stages.second.regularizers.pull.weight=2",
            "stages.second.regularizers is empty, so there is nothing to change\n"
            "    add an item with +stages.second.regularizers={…}",
        ),
        ("seed=[1", "the value is not valid YAML"),
        ("seed=010", "010 begins with a zero"),
        ("description=a: b: c", "the value is not valid YAML"),
    ],
)
def test_what_overrides_refuse(argument, message, errors):
    text = errors(argument)
    assert text.startswith(f"command line: {argument}  ") and message in text
    assert text.endswith("\n1 problem; nothing was started.")

"""Every two of an adapter, a regularizer, a curriculum and a corruption: two epochs, once in one go and once stopped in
the middle and resumed, bit for bit the same."""

from __future__ import annotations

import csv
import math
from itertools import combinations, product
from pathlib import Path

import pytest
import torch

from tests.plugins import pairs_world as world
from tests.plugins.interpolation_world import records, same, weights
from tests.plugins.pairs_world import IMAGES, MODEL, STEPS, Witness
from tests.training.conftest import offer
from tests.training.two_processes import in_two_processes
from transferkit.api import resume
from transferkit.errors import Interrupted
from transferkit.plugins.registry import discover

# {plugin: {variant: options}} of every installed plugin; one without `weight` has no term in the loss
REGULARIZER = {
    "activation_l1": {"": {"weight": 0.1}},
    "bss": {"": {"weight": 0.01}},
    "co_tuning": {"": {"weight": 0.1}},
    "delta": {"": {"weight": 0.01}},
    "ewc": {"": {"weight": 1.0, "dataset": "source", "images": 12}},
    "l2": {"": {"weight": 0.001}},
    "l2_sp": {"": {"weight": 0.1}},
    "ldifs": {"": {"weight": 0.0001}},
    "lwf": {"": {"weight": 0.1}},
    "prune": {"": {"amount": 0.3}},
    "spd": {"": {}},
    "tsvd": {"": {"r": 1}},
    "unlearn_source": {"": {"weight": 0.1, "k": 1}},
}
# {plugin: {mode: options}}; a mode and a way of heads are two choices, and `suits` says which go together
CURRICULUM = {
    "replay": {"": {"images": 3, "share": 0.4}},
    "task_interpolation": {mode: {"mode": mode, "lams": [0.4, 1]} for mode in ("mixture", "mixup", "coupled")},
}
WAYS = {  # and a source task that suits the heads
    "separate": {"heads": "separate", "source": "source"},
    "shared": {"heads": "shared", "source": "three"},
    "concat": {"heads": "concat", "source": "source"},
    "pace: loss": {"pace": "loss", "source": "source"},
}
CORRUPTION = {
    "correlated_patch": {"fixed": {"side": 2}, "random": {"side": 2, "place": "random", "ratio": 0.5}},
    "permuted_pixels": {"": {}},
    "tennis_ball": {"": {"size": 3, "ratio": 0.5}},
}
CHAIN = [{"use": "tennis_ball", "size": 3}, {"use": "correlated_patch", "side": 2, "place": "random", "ratio": 0.5}]

ADAPTER = {"lora": {"": {"rank": 2}}, "stoch_norm": {"": {}}}

TABLES = {"regularizer": REGULARIZER, "curriculum": CURRICULUM, "corruption": CORRUPTION, "adapter": ADAPTER}
CHOICES = [world.uses(kind, table) for kind, table in TABLES.items()]
CHOICES[2]["tennis_ball, correlated_patch"] = CHAIN
LABELS = [*map(list, CHOICES), list(WAYS)]


def suits(case):
    """Whether the choices go together: without a curriculum, and in replay, there is one way, and mixup has no pace."""
    curriculum, way = case[1], case[4]
    return (
        way == "separate"
        if curriculum in ("none", "replay")
        else not (curriculum.endswith("mixup") and way == "pace: loss")
    )


SUITED = [case for case in product(*LABELS) if suits(case)]
CASES = world.covering(SUITED)


@pytest.fixture(scope="module")
def registry():
    """What is installed, and the witness."""
    found = discover()
    offer(found, "observer", "witness", Witness)
    return found


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return world.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pretrained(datasets, registry, tmp_path_factory):
    """A model of the source task."""
    stage = {"start": "scratch", "dataset": "source", "epochs": 8, "optimizer": {"name": "adamw", "lr": 0.01}}
    result = world.train(tmp_path_factory.mktemp("source"), registry, datasets, **stage)
    return str(result.run_dir / "stages/target/model")


@pytest.fixture(autouse=True)
def _nothing_but_numbers(monkeypatch):
    """Reports take most of what is left of so short a run, and change no number of it."""
    monkeypatch.setattr("transferkit.reporting.html.make_report", lambda *given: None)


@pytest.fixture
def train(datasets, registry, pretrained, tmp_path, monkeypatch):
    """Run a recipe whole (`stop_after` 0), or stop it; each time with an empty cache."""
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)

    def go(out, stop_after=0, **recipe):
        monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / out / "cache"))
        Witness.seen.clear()
        observers = [{"use": "witness", "stop_after": stop_after}]
        return world.train(tmp_path / out, registry, datasets, start=pretrained, observers=observers, **recipe)

    return go


def stage_of(regularizers, curriculum, corruptions, adapters=()):
    given = {"curriculum": curriculum[0]} if curriculum else {}
    return {"regularizers": list(regularizers), "corruptions": corruptions, "adapters": list(adapters), **given}


@pytest.mark.parametrize(("kind", "table"), TABLES.items(), ids=TABLES)
def test_the_tables_have_every_installed_plugin(kind, table):
    found = world.missing(kind, table)
    assert not found, "; ".join(found)


def test_every_two_that_go_together_meet():
    pairs = [{(a, b, one[a], one[b]) for a, b in combinations(range(len(LABELS)), 2)} for one in SUITED]
    met = {(a, b, one[a], one[b]) for one in CASES for a, b in combinations(range(len(LABELS)), 2)}
    assert met == set().union(*pairs) and set(CASES) <= set(SUITED)
    assert len(CASES) <= 1.2 * len(LABELS[0]) * len(LABELS[2])  # the two longest meet in no fewer


@pytest.mark.parametrize(
    ("case", "stop_after"),
    [(case, 1 + number % (STEPS - 1)) for number, case in enumerate(CASES)],
    ids=[" + ".join(case) for case in CASES],
)
def test_it_trains_and_resumes_exactly(train, tmp_path, case, stop_after):
    chosen = [choices[label] for choices, label in zip(CHOICES, case[:4], strict=True)]
    chosen[1] = [use | ({"dataset": "source"} if use["use"] == "replay" else WAYS[case[4]]) for use in chosen[1]]
    stage = stage_of(*chosen)
    whole = train("whole", **stage)
    looks_sound(whole, *chosen)
    pixels = dict(Witness.seen)
    assert len(pixels) == STEPS

    with pytest.raises(Interrupted, match=f"stopped at step {stop_after} "):
        train("stopped", stop_after, **stage)
    before = dict(Witness.seen)
    Witness.seen.clear()
    (run_dir,) = (tmp_path / "stopped/runs/pair").iterdir()
    resumed = resume(run_dir, quiet=True)
    assert len(Witness.seen) == STEPS - stop_after  # it went on from there
    assert before | Witness.seen == pixels
    assert same(whole, resumed)
    for split in ("train", "val"):
        assert records(whole, split) == records(resumed, split)
    assert manifest(whole.run_dir) == manifest(resumed.run_dir)


def looks_sound(result, regularizers, curriculum, corruptions, adapters=()):
    """Every plugin did its part in both epochs."""
    assert result.status == "done"
    lines = records(result)
    assert [line["epoch"] for line in lines] == [0, 1]
    assert all(math.isfinite(line["loss"]) for line in lines + records(result, "val"))
    for line in lines:
        assert set(line["terms"]) == {use["use"] for use in regularizers if "weight" in use}
        # what pulls weights that stay as they are has nothing to do
        least = -1e-12 if any(use["use"] == "lora" for use in adapters) else 0
        assert all(least < term["raw"] < math.inf and term["weighted"] > least for term in line["terms"].values())
    if curriculum and curriculum[0]["use"] == "task_interpolation":
        said = [line["plugins"]["task_interpolation"] for line in lines]
        assert [epoch["lam"] for epoch in said] == pytest.approx([0.4, 1])
        assert 0 < said[0]["source_images"] == said[1]["source_images"]
    elif not curriculum:
        assert [line["images"] for line in lines] == [IMAGES, IMAGES]
    rows = manifest(result.run_dir)
    sets = {("target", "train"), ("target", "val")} | {(use.get("source", "source"), "train") for use in curriculum}
    names = [use["use"] for use in corruptions]
    assert {(row["dataset"], row["split"], row["corruption"]) for row in rows} == {
        (*where, name) for where, name in product(sets, names)
    }


def manifest(run_dir):
    """The rows of corruptions.csv; none without the file."""
    path = run_dir / "stages/target/corruptions.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", [name for name in REGULARIZER if name in LABELS[0]])
def test_every_regularizer_changes_the_weights(train, name):
    assert not same(train("without"), train("with", regularizers=CHOICES[0][name]))


def test_two_processes_train_what_one_trains(train, datasets, pretrained, tmp_path):
    """Batch norm is in eval mode, nothing is dropped and both get as many images of a batch, so that only the sums'
    order differs. BSS, TSVD and DELTA's default depend on how many images they see: not here, or in another form."""
    changed = {"bss": [], "tsvd": [], "delta": [{"use": "delta", "weight": 0.01, "normalise": "mean"}]}
    regularizers = [use for name, given in CHOICES[0].items() for use in changed.get(name, given)]
    curriculum = {"use": "task_interpolation", "source": "source", "mode": "coupled", "lams": [0.4, 1]}
    model = MODEL | {"options": MODEL["options"] | {"drop_rate": 0.0}}
    stage = stage_of(regularizers, [curriculum], CHAIN) | {"batchnorm": "eval", "batch_size": 6, "model": model}
    one = train("one", **stage)
    looks_sound(one, regularizers, [curriculum], CHAIN)
    recipe = world.write_recipe(tmp_path / "two", datasets, start=pretrained, **stage)
    two = Path(in_two_processes(recipe, tmp_path / "two/runs")["run_dir"])
    assert manifest(two) == manifest(one.run_dir)
    theirs = weights(two)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-6)
    for our, their in zip(records(one), records(two), strict=True):
        assert their["loss"] == pytest.approx(our["loss"], rel=1e-5)
        assert (their["images"], their["plugins"]) == (our["images"], our["plugins"])
        raw = [{name: term["raw"] for name, term in line["terms"].items()} for line in (our, their)]
        assert raw[1] == pytest.approx(raw[0], rel=1e-5)

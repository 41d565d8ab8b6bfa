"""Metrics of plugins in a run: what they are given, where their numbers go, and how they choose the best epoch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from PIL import Image

from tests.stopping import stopped_at
from tests.training.conftest import offer
from tests.training.test_loop import records, same, weights, without_time
from tests.training.two_processes import in_two_processes
from transferkit.api import resume
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.recipe.schema import Stage
from transferkit.recipe.selection import Selection
from transferkit.report import Metric
from transferkit.training.evaluation import Evaluation, better, remember
from transferkit.training.workspace import State

SEEN: list[dict] = []


@dataclass
class Spy:
    """Remembers what it is given, and returns what a test wants."""

    metrics: ClassVar = [Metric("a", "a", more="worse"), Metric("b", "b", more="better"), Metric("c", "c")]

    def score(self, logits, labels, groups):
        SEEN.append({"logits": logits.clone(), "labels": labels.clone(), "groups": groups.clone()})
        return {"a": float(len(SEEN)), "b": torch.tensor(0.5), "c": math.nan}


@dataclass
class Half:
    """Marks every second image."""

    def select(self, labels):
        return range(0, len(labels), 2)

    def corrupt(self, image):
        return Image.blend(image, Image.new("RGB", image.size, "white"), 0.2)


@pytest.fixture
def spied(registry):
    SEEN.clear()
    offer(registry, "metric", "spy", Spy)
    offer(registry, "corruption", "half", Half)
    return registry


def test_all_images_in_order_with_groups_and_where_the_numbers_go(run, spied, tiny_npz):
    data = {"tiny": {"npz": str(tiny_npz)}, "marked": {"from": "tiny", "corruptions": [{"use": "half"}]}}
    uses = [{"use": "spy"}, {"use": "worst_group"}]
    done = run({"datasets": data}, dataset="marked", metrics=uses, select="spy.a", batch_size=5)
    assert [len(one["labels"]) for one in SEEN] == [12, 12, 12]  # two epochs, and the finished model
    for one in SEEN:
        assert one["logits"].shape == (12, 3) and one["logits"].dtype == torch.float32
        labels = torch.arange(12) % 3
        assert torch.equal(one["labels"], labels)
        assert torch.equal(one["groups"], 2 * labels + (torch.arange(12) % 2 == 0))
    lines = records(done.run_dir, "val")
    for line, one in zip(lines, SEEN, strict=False):
        right = one["logits"].argmax(1) == one["labels"]
        assert line["top1"] == pytest.approx(float(right.float().mean()))
        worst = min(float(right[one["groups"] == group].float().mean()) for group in one["groups"].unique())
        spied = {"a": line["epoch"] + 1, "b": 0.5, "c": None}
        assert line["metrics"] == {"spy": spied, "worst_group": {"worst_group": worst}}
    entry = done.stages["target"]
    assert (entry["best"]["epoch"], entry["best"]["select"], entry["best"]["selected"]) == (0, "spy.a", 1.0)
    assert entry["last"]["selected"] == 2.0
    assert entry["evaluations"]["val"]["metrics"]["spy"]["a"] == 3.0
    page = (done.run_dir / "report.html").read_text()
    assert "worst_group" in page and "spy.b" in page


def test_nothing_is_kept_or_written_without_metrics(run, monkeypatch):
    monkeypatch.setattr("transferkit.training.evaluation.Scores", None)
    done = run(epochs=1)
    assert "metrics" not in records(done.run_dir, "val")[0] and "selected" not in done.stages["target"]["best"]


def test_resumed_with_metrics_and_augmentations_it_is_the_same_run(run, registry, tmp_path, monkeypatch):
    @dataclass
    class Noise:
        """Shifts the red of an image."""

        def augment(self, image, rng):
            bands = image.split()
            shift = int(rng.integers(60))
            return Image.merge("RGB", (bands[0].point(lambda value: min(255, value + shift)), *bands[1:]))

    offer(registry, "augmentation", "noise", Noise)
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    stage = {"augment": [{"use": "noise"}, {"use": "noise", "name": "more"}], "balance": "sampling"}
    stage |= {"metrics": [{"use": "ece"}], "select": "ece", "early_stopping": {"patience": 5}}
    whole = run(**stage, workers=2)
    with stopped_at(2):
        run(**stage, workers=0)
    (other,) = [one for one in whole.run_dir.parent.iterdir() if one != whole.run_dir]
    resumed = resume(other, quiet=True)
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    assert without_time(records(whole.run_dir)) == without_time(records(resumed.run_dir))
    assert whole.stages["target"]["best"] == resumed.stages["target"]["best"]
    plain = run(balance="sampling")
    assert not same(weights(whole.run_dir), weights(plain.run_dir))


def test_two_processes_score_what_one_scores(run, recipe_file, tmp_path):
    stage = {"batchnorm": "eval", "batch_size": 8, "select": "worst_group", "augmentation": {"none": True}}
    stage |= {"metrics": [{"use": name} for name in ("ece", "balanced_accuracy", "worst_group")]}
    one, two = run(**stage), in_two_processes(recipe_file(**stage), tmp_path / "two")
    ours, theirs = (one.stages["target"]["evaluations"]["val"], two["stages"]["target"]["evaluations"]["val"])
    assert theirs["metrics"]["ece"]["ece"] == pytest.approx(ours["metrics"]["ece"]["ece"], abs=1e-3)
    recalls = list(theirs["per_class"].values())  # counted without the logits
    assert theirs["metrics"]["balanced_accuracy"]["balanced_accuracy"] == pytest.approx(sum(recalls) / 3)
    assert theirs["metrics"]["worst_group"]["worst_group"] == pytest.approx(min(recalls))


def test_what_is_no_number_and_what_is_missing_is_said_with_its_owner(run, registry):
    @dataclass
    class Wrong:
        """Not numbers."""

        metrics: ClassVar = [Metric("x", "x", more="better")]
        text: bool = True

        def score(self, logits):
            return {"x": "many"} if self.text else {"y": 1.0}

    offer(registry, "metric", "wrong", Wrong)
    with pytest.raises(InputError, match=r"metric 'wrong'.*score must return"):
        run(metrics=[{"use": "wrong"}])
    with pytest.raises(InputError, match='the metric "wrong" did not return "x", which select names'):
        run(metrics=[{"use": "wrong", "text": False}], select="wrong")


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"select": "top2"}, 'stages.target.select: no metric of this stage is called "top2"'),
        ({"select": "worst_grp", "metrics": [{"use": "worst_group"}]}, 'did you mean "worst_group"?'),
        ({"select": "spy", "metrics": [{"use": "spy"}]}, "has several numbers: say which, spy.a or spy.b or spy.c"),
        ({"select": "spy.c", "metrics": [{"use": "spy"}]}, "does not say whether more of it is better"),
        ({"metrics": [{"use": "ece", "name": "top1"}]}, 'a metric cannot be called "top1"'),
        (
            {"select": "loss", "early_stopping": {"patience": 1, "metric": "top1"}},
            "stages.target.early_stopping.metric: is top1, but select is loss",
        ),
        ({"early_stopping": {"patience": 1, "metric": "acc"}}, 'no metric of this stage is called "acc"'),
    ],
)
def test_recipes_that_cannot_choose(recipe_file, spied, stage, said):
    with pytest.raises(InputError) as refused:
        load_recipe(recipe_file(**stage), registry=spied)
    assert said in str(refused.value) and "1 problem;" in str(refused.value)


def test_one_rule_whichever_key_says_it(recipe_file, spied, tmp_path):
    def selected(**stage):
        loaded = load_recipe(recipe_file(**stage), registry=spied)
        (tmp_path / "dumped.yaml").write_text(loaded.dump())
        again = load_recipe(tmp_path / "dumped.yaml", registry=spied)
        assert again.recipe == loaded.recipe
        return loaded.recipe.stages[0].select

    assert selected() == selected(early_stopping={"patience": 2}) == "top1"
    assert selected(early_stopping={"patience": 2, "metric": "loss"}) == "loss"
    assert selected(metrics=[{"use": "ece"}], early_stopping={"patience": 2, "metric": "ece"}) == "ece"
    assert selected(metrics=[{"use": "spy", "name": "s"}], select="s.a", early_stopping={"patience": 2}) == "s.a"
    assert Stage(name="x", dataset="d", epochs=1, early_stopping={"patience": 1, "metric": "loss"}).select == "loss"


@pytest.mark.parametrize(
    ("new", "old", "sign", "wanted"),
    [
        (0.6, 0.5, 1, True),
        (0.4, 0.5, 1, False),
        (0.4, 0.5, -1, True),
        (math.nan, 0.5, 1, False),
        (math.nan, 0.5, -1, False),
        (0.5, math.nan, -1, True),
        (math.nan, math.nan, 1, False),
        (-math.inf, math.nan, 1, False),
    ],
)
def test_what_is_no_number_never_wins(new, old, sign, wanted):
    chosen = Selection("m", "m", "x", sign)
    first, second = ({"top1": 0.1, "loss": 0.5, "selected": value} for value in (new, old))
    assert better(first, second, chosen) is wanted


def test_of_equal_ones_the_lower_loss_and_patience_counts_by_the_metric():
    chosen = Selection("m", "m", "x", -1)
    from transferkit.recipe.schema import EarlyStopping

    state, improved = State(), []
    for epoch, (value, loss) in enumerate([(0.5, 1.0), (0.5, 0.9), (0.6, 0.1), (math.nan, 0.0)]):
        state.epoch = epoch
        found = Evaluation(torch.tensor([0]), torch.tensor([0]), 2, loss, 1.0, {"m": {"x": value}})
        improved.append(remember(state, EarlyStopping(patience=2), found, {}, chosen))
    assert improved == [True, True, False, False] and state.best["epoch"] == 1 and state.stopped_early


def test_tensorboard_has_them_and_a_confusion_matrix(run, spied, drawn):
    done = run(epochs=1, metrics=[{"use": "spy"}, {"use": "ece"}])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = set()
    for folder in {path.parent for path in (done.run_dir / "tb").rglob("events*")}:
        events = EventAccumulator(str(folder)).Reload()
        tags |= set(events.Tags()["scalars"]) | set(events.Tags()["images"])
    assert {"val/spy.a", "val/ece", "confusion/val"} <= tags


def test_json_stays_valid(run, spied):
    done = run(epochs=1, metrics=[{"use": "spy"}])
    for line in (done.run_dir / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda text: pytest.fail(text))

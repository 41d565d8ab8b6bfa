"""Equal epochs and equal steps told apart, seeds averaged, families kept apart."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats
from transferkit_across.curves import MEASURES, Line, Point, axes, lines, points
from transferkit_across.entries import Entry, Facts, read_entries

from .made_up_analyses import audit, result, retention, run, stage, write

RETENTION, TOP1 = MEASURES[0], MEASURES[-1]


KEPT = {"all": 0.5, "tenth": 0.9, "tenth-steps": 0.6}


def sizes(folder, seed=0, shift=0.0, model="resnet18", kept=KEPT):
    """All images for 25 epochs, a tenth for as many epochs, a tenth for as many steps."""
    stages = [
        stage("all", epochs=25),
        stage("tenth", epochs=25, fraction=0.1),
        stage("tenth-steps", steps=400, fraction=0.1, schedule={"name": "step", "unit": "steps", "every": 112}),
    ]
    results = {"all": result(244, 400, 25), "tenth": result(24, 50, 25, 0.8), "tenth-steps": result(24, 400, 200, 0.7)}
    reports = {f"r-{name}": ("retention", name, retention([0.5] * 6, ratio=kept[name] + shift)) for name in kept}
    return write(folder, stages, results, reports, seed=seed, model=model)


def drawn(found):
    return {line.name: [point.facts.images for point in line.points] for line in found}


def test_equal_epochs_and_equal_steps(tmp_path):
    found = points(read_entries([sizes(tmp_path / "run")]))
    over = lines(found, "images")
    assert drawn(over) == {"equal epochs (25)": [24, 244], "equal steps (400)": [24, 244]}
    epochs, steps = over
    assert epochs.change(RETENTION).value == pytest.approx(0.5 - 0.9)
    assert steps.change(RETENTION).value == pytest.approx(0.5 - 0.6)
    assert all(line.connected for line in over)
    assert axes(found, "auto") == ["images"] and axes(found, "epochs") == ["epochs"]


def test_over_steps_models_of_equal_size_are_connected(tmp_path):
    over = lines(points(read_entries([sizes(tmp_path / "run")])), "steps")
    assert {line.name: ([p.facts.steps for p in line.points], line.connected) for line in over} == {
        "24 images": ([50, 400], True),
        "244 images": ([400], False),
    }


def test_seeds_are_one_point(tmp_path):
    entries = read_entries([sizes(tmp_path / f"run{seed}", seed, 0.1 * seed) for seed in range(3)])
    found = points(entries)
    assert len(entries) == 9 and len(found) == 3
    whole = next(point for point in found if point.facts.images == 244)
    assert whole.values(RETENTION) == pytest.approx([0.5, 0.6, 0.7])
    assert whole.mean(RETENTION) == pytest.approx(0.6) and whole.sd(RETENTION) == pytest.approx(0.1)


def test_how_far_a_point_may_be_off(tmp_path):
    found = points(read_entries([sizes(tmp_path / f"run{seed}", seed, 0.1 * seed) for seed in range(2)]))
    # sd 0.0707 over the root of 2 is 0.05; t(0.975, 1) = 12.7062
    assert found[0].error(RETENTION) == pytest.approx(12.7062 * 0.05, abs=1e-5)
    alone = retention([0.5] * 6, ratio=0.5)
    alone.metrics |= {"relative_retention_low": 0.4, "relative_retention_high": 0.54}
    (one, two) = points(
        read_entries([run(tmp_path / "x", alone), run(tmp_path / "y", retention([0.5] * 6), model="z")])
    )
    assert one.error(RETENTION) == pytest.approx(0.07)
    assert math.isnan(two.error(RETENTION)) and math.isnan(one.error(TOP1))


def ends(estimate):
    return estimate.low, estimate.high


def test_a_change_is_welchs_whoever_has_the_same_seeds(tmp_path):
    """Means 0.95 and 0.6 of sd 0.0707 and 0.1414: error √(0.0025 + 0.01); 0.0125² / (0.0025² + 0.01²) = 25 / 17."""
    kept = [{"all": 0.5, "tenth": 0.9, "tenth-steps": 0.6}, {"all": 0.7, "tenth": 1.0, "tenth-steps": 0.6}]
    runs = [sizes(tmp_path / f"run{seed}", seed, kept=one) for seed, one in enumerate(kept)]
    epochs, steps = lines(points(read_entries(runs)), "images")
    change = epochs.change(RETENTION)
    half = stats.t.ppf(0.975, 25 / 17) * math.sqrt(0.0125)
    assert change.n == 4 and change.value == pytest.approx(-0.35)
    assert ends(change) == pytest.approx((-0.35 - half, -0.35 + half))
    assert math.isnan(steps.change(MEASURES[2]).value)  # distraction was not measured


def test_a_change_of_one_seed_is_as_sure_as_its_own_intervals(tmp_path):
    """Half-widths of 0.03 and 0.04 together are 0.05."""

    def one(folder, images, value, half):
        report = retention([0.5] * 6, ratio=value)
        report.metrics |= {"relative_retention_low": value - half, "relative_retention_high": value + half}
        stages = [stage("target", epochs=25, fraction=images / 244)]
        results = {"target": result(images, images, 25)}
        return write(folder, stages, results, {"retention": ("retention", None, report)})

    runs = [one(tmp_path / "few", 24, 0.9, 0.03), one(tmp_path / "all", 244, 0.5, 0.04)]
    (line,) = lines(points(read_entries(runs)), "images")
    assert ends(line.change(RETENTION)) == pytest.approx((-0.45, -0.35))
    assert not line.change(TOP1).known


def made_up(*points):
    """A line of points whose models have these top-1, by seed."""
    entry = [
        [Entry("", None, None, Facts(top1=value, seed=seed), {}) for seed, value in enumerate(one)] for one in points
    ]
    return Line("", tuple(Point(tuple(one)) for one in entry))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_nothing_changed_a_change_is_rarely_called(seeds):
    """At most 5 % of the time; with Welch's interval less, the fewer the seeds."""
    rng, times = np.random.default_rng(seeds), 4000
    top1 = rng.normal(0.8, 0.02, (times, 2, seeds)).tolist()
    changes = [made_up(few, many).change(TOP1) for few, many in top1]
    called = sum(change.above(0) or change.below(0) for change in changes) / times
    assert all(change.known for change in changes)
    assert called <= 0.05


def test_the_same_run_twice_counts_once(tmp_path):
    one = run(tmp_path / "one", retention([0.5] * 6, ratio=0.5))
    other = run(tmp_path / "other", retention([0.5] * 6, ratio=0.7))
    (point,) = points(read_entries([one, other]))
    assert point.values(RETENTION) == [0.7]
    assert math.isnan(point.sd(RETENTION))


def test_a_folder_of_runs_and_the_seeds_of_a_run(tmp_path):
    for seed in range(2):
        sizes(tmp_path / "run" / "repeats" / f"seed-{seed}", seed)
    (tmp_path / "run" / "result.json").write_text(json.dumps({"status": "done", "repeats": [{}, {}], "stages": {}}))
    (tmp_path / "run" / "recipe.yaml").write_text("name: ants")
    assert len(read_entries([tmp_path / "run"])) == 6
    assert len(read_entries([tmp_path])) == 6


def test_what_differs_in_more_than_length_is_not_connected(tmp_path):
    one = run(tmp_path / "one", retention([0.5] * 6, ratio=0.5))
    two = run(tmp_path / "two", retention([0.5] * 6, ratio=0.7), model="vgg16", images=24, steps=50)
    found = points(read_entries([one, two]))
    over = lines(found, "images")
    assert drawn(over) == {"vgg16": [24], "resnet18": [244]}
    assert not any(line.connected for line in over)
    assert axes(found, "auto") == ["images", "architecture"]
    assert drawn(lines(found, "architecture")) == {"244 images, 25 epochs": [244], "24 images, 25 epochs": [24]}


def test_another_learning_rate_is_another_line(tmp_path):
    def tuned(name, lr):
        stages = [
            stage("a", epochs=25, optimizer={"lr": lr}),
            stage("b", epochs=25, fraction=0.1, optimizer={"lr": lr}),
        ]
        reports = {name: ("retention", name, retention([0.5] * 6)) for name in "ab"}
        return write(tmp_path / name, stages, {"a": result(244, 400, 25), "b": result(24, 50, 25)}, reports)

    over = lines(points(read_entries([tuned("slow", 0.001), tuned("fast", 0.1)])), "images")
    assert drawn(over) == {"equal epochs (25), lr=0.001": [24, 244], "equal epochs (25), lr=0.1": [24, 244]}


def test_facts_of_an_audit_come_from_the_run_of_its_target(tmp_path):
    trained = sizes(tmp_path / "run")
    model = trained / "stages" / "tenth" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"architecture": "resnet18d"}))
    reports = {"retention": ("retention", None, retention([0.5] * 6, ratio=0.4))}
    found = audit(tmp_path / "audit", model, reports, architecture="resnet18d")
    lost = audit(tmp_path / "lost", tmp_path / "gone", reports, architecture="vgg16")
    one, two = read_entries([found, lost])
    assert (one.facts.images, one.facts.steps, one.facts.architecture) == (24, 50, "resnet18d")
    assert one.facts.top1 == 0.8 and one.facts.kept_epoch == 24
    assert two.facts.images is None and two.facts.architecture == "vgg16"
    assert math.isnan(TOP1.of(two)) and RETENTION.of(two) == 0.4


def test_a_stage_has_the_settings_of_what_it_starts_from(tmp_path):
    def chained(name, epochs):
        stages = [stage("first", epochs=epochs), stage("second", epochs=5, start="first")]
        results = {"first": result(244, 400, 25), "second": result(244, 80, 5)}
        return write(tmp_path / name, stages, results, {"r": ("retention", "second", retention([0.5] * 6))})

    one, two = read_entries([chained("one", 25), chained("two", 50)])
    assert one.facts.recipe != two.facts.recipe
    assert one.facts.settings["start.epochs"] == 25

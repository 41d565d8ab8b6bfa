"""The analyzer `erosion`: its numbers by hand, curves from records, and what it says."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from transferkit_erosion import forgetting, normalised_forgetting, plasticity
from transferkit_erosion.accuracies import paired_forgetting
from transferkit_erosion.analyzer import Erosion
from transferkit_erosion.arms import AFTER, BEFORE, Answers, Arms, Point, Shift, curve
from transferkit_erosion.measure import judge
from transferkit_erosion.report import metrics, tables
from transferkit_erosion.verdict import notes, verdict

from transferkit.errors import InputError
from transferkit.report import Report

from .made_up_audit import column

# -- numbers --------------------------------------------------------------------------------------------------


def test_forgetting_by_hand():
    assert forgetting(0.9, 0.6) == pytest.approx(0.3) and forgetting(0.5, 0.7) == pytest.approx(-0.2)
    assert normalised_forgetting(0.9, 0.5, 0.1) == pytest.approx(0.5)
    assert normalised_forgetting(0.9, 0.1, 0.1) == pytest.approx(1)
    assert normalised_forgetting(0.9, 0.9, 0.1) == 0
    assert normalised_forgetting(0.9, 0.05, 0.1) > 1  # worse than guessing


@pytest.mark.parametrize("before", [0.1, 0.05, math.nan])
def test_where_nothing_was_above_chance_nothing_can_be_lost(before):
    assert math.isnan(normalised_forgetting(before, 0.05, 0.1))


def numbers(options, found):
    """The metrics as report.json has them."""
    return Report(metrics=metrics(options, found)).numbers


def ends(found):
    return found.low, found.high


def test_the_interval_of_forgetting_is_students_of_the_differences():
    rng = np.random.default_rng(0)
    first, second = rng.random(200) < 0.8, rng.random(200) < 0.6
    difference = first.astype(float) - second
    expected = stats.t.interval(0.95, 199, loc=difference.mean(), scale=stats.sem(difference))
    found = paired_forgetting(first, second)
    assert found.value == pytest.approx(first.mean() - second.mean()) and found.n == 200
    assert ends(found) == pytest.approx(expected, abs=1e-12)
    # exactly: n01 and n10 are the images that only one of the two has right
    n, n10, n01 = 200, (first & ~second).sum(), (~first & second).sum()
    half = stats.t.ppf(0.975, 199) * math.sqrt((n10 + n01 - (n10 - n01) ** 2 / n) / (n * (n - 1)))
    assert ends(found) == pytest.approx(((n10 - n01) / n - half, (n10 - n01) / n + half), abs=1e-6)
    assert ends(paired_forgetting(second, first)) == pytest.approx([-end for end in expected[::-1]])


def test_forgetting_of_equal_few_and_other_images():
    right = np.array([True, False, True])
    assert ends(paired_forgetting(right, right)) == (0, 0)
    assert not paired_forgetting(right[:1], right[:1]).known
    with pytest.raises(ValueError, match="answered 3 and 2 images"):
        paired_forgetting(right, right[:2])


def test_plasticity_by_hand():
    found = plasticity([0.2, 0.58, 0.7], [0.4, 0.5, 0.6])
    assert (found.final_gap, found.mean_gap) == pytest.approx((-0.1, 0.02 / 3))
    assert found.epochs == 2  # 0.58 is more than 0.95 * 0.6 = 0.57
    assert plasticity([0.2, 0.58, 0.7], [0.4, 0.5, 0.6], share=0.3).epochs == 1
    assert plasticity([0.57], [0.6]).epochs == 1  # exactly 95 percent
    never = plasticity([0.1, 0.2], [0.5, 0.6])
    assert math.isnan(never.epochs) and never.final_gap == pytest.approx(0.4)


@pytest.mark.parametrize(("again", "anew"), [([], []), ([0.1], []), ([0.1, 0.2], [0.1])])
def test_plasticity_needs_equal_budgets(again, anew):
    with pytest.raises(ValueError, match="budgets must be equal"):
        plasticity(again, anew)


# -- curves ---------------------------------------------------------------------------------------------------


def line(split, step, epoch, top1, **more):
    """A record of metrics.jsonl; without `terms` one of early_steps.jsonl."""
    return {"split": split, "step": step, "epoch": epoch, "top1": top1, **more}


WHOLE = {"terms": {}}


class History:
    """A run whose stages trained as a test wants it."""

    def __init__(self, lines, stage="erode", dataset="clean"):
        self.lines, self.stage_name = lines, stage
        spec = SimpleNamespace(corruptions=[], from_=None)
        self.recipe = SimpleNamespace(
            stage=lambda name: SimpleNamespace(dataset=dataset), datasets={"clean": spec, "squares": spec}
        )

    def history(self, stage):
        if stage not in self.lines:
            raise InputError(f'the recipe has no stage called "{stage}"')
        return self.lines[stage]


def test_a_curve_is_what_was_evaluated_on_clean_images():
    session = History({"erode": [
        line("val", 0, -1, 0.3, **WHOLE), line("clean", 0, 0, 0.4), line("train", 5, 0, 0.9, **WHOLE),
        line("val", 5, 0, 1.0, **WHOLE), line("clean", 5, 0, 0.2, **WHOLE), line("clean", 10, 1, None, **WHOLE),
    ]}, dataset="squares")  # fmt: skip
    assert curve(session, "erode", "clean") == [Point(0, 0, 0.4, early=True), Point(5, 0, 0.2, early=False)]
    session.lines["erode"] = [record for record in session.lines["erode"] if record["split"] != "clean"]
    assert curve(session, "erode", "clean") == []  # validation is on squares


def test_where_a_stage_trains_on_clean_images_its_validation_is_the_curve():
    session = History({"control": [line("train", 5, 0, 0.9, **WHOLE), line("val", 5, 0, 0.7, **WHOLE)]})
    assert curve(session, "control", "clean") == [Point(5, 0, 0.7, early=False)]


def measured(lines, **options):
    """The findings about models that answer nothing but have these records."""
    found = judge(History(lines), Erosion(clean="clean", **options), Arms({}, ["a", "b"], None))
    return found, found.gaps


def ends_of(accuracies, every=1, steps=10):
    return [
        line("val", steps * (epoch + 1), epoch, accuracy, **WHOLE)
        for epoch, accuracy in zip(range(every - 1, 1000, every), accuracies, strict=False)
    ]


def test_plasticity_counts_epochs_not_evaluations():
    lines = {"erode": ends_of([0.5]), "again": ends_of([0.2, 0.6], every=5), "anew": ends_of([0.4, 0.5], every=5)}
    found, gaps = measured(lines, relearn="again", scratch="anew")
    assert found.plasticity["again"].epochs == 10 and not gaps
    values = numbers(Erosion(clean="clean", relearn="again", scratch="anew"), found)
    assert values["plasticity_gap"] == pytest.approx(-0.1) and values["epochs_to_95"] == 10
    assert values["plasticity_mean_gap"] == pytest.approx(0.05) and math.isnan(values["warm_start_gap"])


@pytest.mark.parametrize("anew", [ends_of([0.4, 0.5]), ends_of([0.4, 0.5, 0.6], steps=20), ends_of([0.4, 0.5, 0.6], 2)])
def test_other_budgets_are_not_compared(anew):
    found, gaps = measured(
        {"erode": ends_of([1]), "again": ends_of([0.2, 0.3, 0.4]), "anew": anew}, relearn="again", scratch="anew"
    )
    assert not found.plasticity and "again and anew were not evaluated after the same epochs and steps" in gaps[0]


def test_early_points_and_the_start_are_no_epochs():
    start = [line("val", 0, -1, 0.9, **WHOLE), line("val", 3, 0, 0.8)]
    lines = {"erode": ends_of([1]), "again": start + ends_of([0.2, 0.4]), "anew": ends_of([0.3, 0.4])}
    found, _ = measured(lines, relearn="again", scratch="anew")
    assert found.plasticity["again"].mean_gap == pytest.approx(0.05)
    assert [point.early for point in found.curves["again"]] == [False, True, False, False]


def test_gaps_of_curves():
    lines = {"erode": [line("train", 5, 0, 0.9, **WHOLE)], "again": ends_of([0.3])}
    found, gaps = measured(lines, relearn="again", warm="nothing")
    assert list(found.curves) == ["again"] and not found.plasticity
    assert gaps == [
        "The stage erode was not evaluated on clean while it trained, so it has no curve: give it evaluate: [clean].",
        'nothing was left out: the recipe has no stage called "nothing".',
        "Nothing to compare again with: give scratch, a stage that learns the clean task anew.",
        "Nothing to compare nothing with: give scratch, a stage that learns the clean task anew.",
    ]


# -- what it says ---------------------------------------------------------------------------------------------


CLASSES = [f"class {i}" for i in range(20)]
ORDER = np.random.default_rng(3).permutation(100)


def answers(right, of=100):
    """Five images of each of twenty classes, of which `right`, here and there, are answered rightly."""
    labels = np.arange(of) % 20
    return Answers(np.where(ORDER[:of] < right, labels, (labels + 1) % 20), labels)


def paired_ends(one, other, labels):
    """The interval of the mean difference by leaving out each class, in per cent to one digit."""
    difference = one.astype(float) - other
    without = np.array([difference[labels != c].mean() for c in np.unique(labels)])
    error = np.sqrt((len(without) - 1) / len(without) * np.square(without - difference.mean()).sum())
    half = stats.t.ppf(0.975, len(without) - 1) * error
    return difference.mean() - half, difference.mean() + half


def written(one, other):
    """The same of so many right answers, as the verdict has it."""
    low, high = paired_ends(answers(one).right, answers(other).right, np.arange(100) % 20)
    return f"({100 * low:.1f} to {100 * high:.1f})"


def said(
    before=90, after=50, control=None, matching=None, conflict=None, learned=0.1, lines=None, learners=None, **stages
):
    """The findings about models with so many right answers, and the options that they were found with."""
    given = {BEFORE: {"clean": answers(before)}, AFTER: {"clean": answers(after)}}
    if control is not None:
        given["control"] = {"clean": answers(control)}
    if matching is not None:
        given[AFTER]["matching"] = answers(matching)
    if conflict is not None:
        given[AFTER]["conflict"] = answers(100 - conflict)
    arms = Arms(given, CLASSES, Shift(1, np.ones(100, dtype=bool)), learners=learners or {})
    options = Erosion(clean="clean", control=None if control is None else "control", learned=learned, **stages)
    lines = {"erode": ends_of([0.5]), "control": ends_of([0.9])} | (lines or {})
    return options, judge(History(lines), options, arms)


def test_forgetting_without_a_control():
    options, found = said(matching=90, conflict=80)
    reliance = found.shortcuts[AFTER].reliance
    assert verdict(options, found) == (
        f"On clean images the accuracy went from 90.0 % to 50.0 %: 40.0 points {written(90, 50)} were forgotten; "
        "without a control it is unknown how much of that ordinary retraining would have taken. The mark was learned: "
        f"the right mark adds 40.0 points {written(90, 50)} of accuracy, and 80.0 % ({100 * reliance.low:.1f} to "
        f"{100 * reliance.high:.1f}) of images bearing another class's mark are taken for that class."
    )
    values = numbers(options, found)
    assert values["normalised_forgetting"] == pytest.approx(0.4 / 0.85) and math.isnan(values["excess_forgetting"])
    assert any("There is no control" in text for text in notes(options, found))


@pytest.mark.parametrize(
    ("control", "words"),
    [
        (85, "that is 35.0 points {} worse than the control on clean images."),
        (52, "it could not be told apart from the control on clean images (2.0 points [-1.0, 5.0])."),
        (30, "that is 20.0 points {} better than the control on clean images."),
    ],
)
def test_forgetting_against_the_control(control, words):
    options, found = said(control=control)
    pair = sorted((control, 50), reverse=True)
    low, high = paired_ends(*(answers(one).right for one in pair), np.arange(100) % 20)
    assert verdict(options, found).endswith(
        words.format(written(*pair)).replace("[-1.0, 5.0]", f"[{100 * low:.1f}, {100 * high:.1f}]")
    )
    values = numbers(options, found)
    assert values["excess_forgetting"] == pytest.approx((control - 50) / 100)
    assert values["forgetting"] - values["forgetting_control"] == pytest.approx(values["excess_forgetting"])
    assert values["excess_forgetting_low"] < values["excess_forgetting"] < values["excess_forgetting_high"]
    assert not any("There is no control" in text for text in notes(options, found))


def test_what_was_gained_is_not_called_forgotten_nor_what_may_be_chance():
    options, found = said(before=50, after=60)
    assert f"nothing was forgotten, 10.0 points {written(60, 50)} were gained" in verdict(options, found)
    for after in (49, 50, 51):
        assert "whether anything was forgotten is not certain" in verdict(*said(before=50, after=after)) or after == 50
    assert "which guessing (5.0 %) may well reach" in verdict(*said(after=6))
    assert "guessing" not in verdict(*said(after=50))


@pytest.mark.parametrize(
    ("matching", "conflict", "learned", "words"),
    [
        (52, 20, 0.1, "The mark was not learned (the right mark adds 2.0 points"),
        (52, None, 0.1, "The mark was not learned"),
        (54, 20, 0.05, "Whether the mark was learned is not certain: the right mark adds 4.0 points"),
        (52, 50, 0.1, "Whether the mark was learned is not certain"),  # about half of the images follow it
        (52, 70, 0.1, "The mark was learned"),
        (90, None, 0.1, "The mark was learned: the right mark adds 40.0 points"),
    ],
)
def test_whether_the_mark_was_learned(matching, conflict, learned, words):
    options, found = said(matching=matching, conflict=conflict, learned=learned)
    assert words in verdict(options, found)
    assert numbers(options, found)["gate"] == pytest.approx((matching - 50) / 100)


def test_plasticity_in_words():
    stages = {"relearn": "again", "scratch": "anew"}
    lines = {"again": ends_of([0.4, 0.5]), "anew": ends_of([0.5, 0.6]), "warmed": ends_of([0.6, 0.7])}
    kept = {"again": answers(50), "anew": answers(60), "warmed": answers(70)}
    options, found = said(lines=lines, learners=kept, **stages)
    less = f"ends 10.0 points {written(60, 50)} less accurate than training anew on the same budget; without"
    assert less in verdict(options, found)
    assert numbers(options, found)["plasticity_gap_low"] == pytest.approx(found.final["again"].low)
    options, found = said(lines=lines, learners=kept, warm="warmed", **stages)
    more = f"going on from the clean control instead ends 10.0 points {written(70, 60)} more accurate than"
    assert more in verdict(options, found)
    same = kept | {"again": answers(59)}
    options, found = said(lines=lines | {"again": ends_of([0.4, 0.59])}, learners=same, **stages)
    assert "Relearning the clean task could not be told apart at the end" in verdict(options, found)


def test_without_the_last_weights_plasticity_has_numbers_and_no_words():
    stages = {"relearn": "again", "scratch": "anew"}
    lines = {"again": ends_of([0.4, 0.5]), "anew": ends_of([0.5, 0.6])}
    for learners in ({}, {"again": answers(80), "anew": answers(60)}):  # none, and those of another epoch
        options, found = said(lines=lines, learners=learners, **stages)
        assert "has at its end a difference of -10.0 points, without an interval, from training anew" in verdict(
            options, found
        )
        assert numbers(options, found)["plasticity_gap"] == pytest.approx(0.1)


def test_where_nothing_was_lost_but_whole_classes_differ_forgetting_is_rarely_claimed():
    """Classes change by chance, some for the better and some for the worse; images alone would call that certain."""
    rng, called, naive = np.random.default_rng(0), [], []
    labels = np.repeat(np.arange(12), 30)
    for _ in range(400):
        before = rng.random(360) < 0.8
        recall = np.clip(0.8 + 0.1 * rng.choice([-1, 1], 12), 0, 1)
        after = rng.random(360) < recall[labels]
        by_class, by_image = paired_forgetting(before, after, labels), paired_forgetting(before, after)
        called.append(by_class.above(0) or by_class.below(0))
        naive.append(by_image.above(0) or by_image.below(0))
    assert np.mean(called) <= 0.07 < np.mean(naive)


def test_with_one_image_nothing_is_compared():
    one = Answers(np.array([0]), np.array([0]))
    arms = Arms({BEFORE: {"clean": one}, AFTER: {"clean": one}, "control": {"clean": one}}, ["a", "b"], None)
    options = Erosion(clean="clean", control="control")
    found = judge(History({"erode": ends_of([1]), "control": ends_of([1])}), options, arms)
    assert verdict(options, found) == (
        "On clean images the accuracy went from 100.0 % to 100.0 %: too few classes or images (1 image) to say what "
        "was forgotten; these are too few images to compare it with the control."
    )


def test_reliance_is_of_the_images_that_bear_the_mark():
    labels = np.array([0, 0, 1, 1])
    conflict = Answers(np.array([1, 0, 0, 0]), labels)
    arms = Arms({AFTER: {"conflict": conflict}}, ["a", "b", "c"], Shift(1, np.array([True, True, False, False])))
    options = Erosion(clean="clean")
    found = judge(History({"erode": ends_of([1])}), options, arms)
    assert numbers(options, found)["shortcut_reliance"] == 0.5
    assert column(tables(found)["shortcut"], "shortcut_reliance") == [0.5]


def test_the_gate_is_of_the_images_that_bear_the_mark():
    clean = Answers(np.array([0, 1, 1, 1]), np.zeros(4, dtype=np.int64))
    matching = Answers(np.array([0, 0, 1, 1]), np.zeros(4, dtype=np.int64))
    alone = Answers(np.array([1, 0, 1, 1]), np.zeros(4, dtype=np.int64))
    marked = {"matching": np.array([False, True, False, True]), "alone": np.array([False, True, False, True])}
    arms = Arms({AFTER: {"clean": clean, "matching": matching, "alone": alone}}, ["a", "b"], None, marked=marked)
    found = numbers(Erosion(clean="clean"), judge(History({"erode": ends_of([1])}), Erosion(clean="clean"), arms))
    assert (found["gate"], found["shortcut_alone"]) == (0.5, 0.5)
    assert (found["accuracy_after"], math.isnan(found["forgetting"])) == (0.25, True)

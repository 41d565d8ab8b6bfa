"""Accuracies and contrasts of a trial whose answers are made up: by hand, by simulation, and against SciPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest, t
from transferkit_confusion.intervals import mean_share, weighted_means
from transferkit_confusion.picks import Background, bounds, pick_backgrounds
from transferkit_confusion.trial import Trial, contrasts, weak_groups

from transferkit.statistics import share

GROUPS = ("with", "neutral", "against")


def trial_of(rows, *, plain=((), ()), classes=("ants", "bees"), backgrounds=None, votes=None, **baseline):
    """`rows` of (class of the overlay, overlay, source class 0 … 2: its group, answer); `plain` (indices, answers)."""
    pairs = {(label, source) for label, _, source, _ in rows}
    items = [SimpleNamespace(overlay_class=label, overlay=one, source_class=source) for label, one, source, _ in rows]
    index, on_colour = (np.array(part, dtype=np.int64) for part in plain)
    answers = {"target": [answer for *_, answer in rows], **baseline}
    return Trial(
        classes=list(classes),
        names=["red", "grey", "blue"],
        backgrounds=backgrounds or [Background(label, GROUPS[source], source, 0.5, 0.0) for label, source in pairs],
        overlays={label: [] for label, _ in pairs},
        sureness={},
        composites=SimpleNamespace(items=items),
        plain=index,
        choosing=np.zeros(3, int),
        votes={"target": np.zeros((3, 2), int) if votes is None else np.array(votes)},
        eligible=[0, 1, 2],
        limit=9,
        halved=True,
        answers={role: (np.array(given), on_colour) for role, given in answers.items()},
    )


def test_accuracy_by_hand():
    rows = [(0, 4, 0, 0), (0, 4, 0, 0), (0, 5, 0, 1), (1, 8, 0, 1), (1, 8, 1, 0), (0, 4, 2, 1), (0, 5, 2, 0)]
    found = trial_of(rows, plain=([0, 2, 3], [0, 0, 0]))
    right, overlay = found.outcomes("target", "with")
    assert right.tolist() == [True, True, False, True] and overlay.tolist() == [4, 4, 5, 8]
    assert [each.tolist() for each in found.outcomes("target", "with", 1)] == [[True], [8]]
    assert [each.tolist() for each in found.outcomes("target", "colour")] == [[True, True, False], [4, 5, 8]]
    assert [each.tolist() for each in found.outcomes("target", "colour", 0)] == [[True, True], [4, 5]]
    accuracy = found.accuracy("target")
    assert {name: one.value for name, one in accuracy.items()} == pytest.approx(
        {"with": 3 / 4, "neutral": 0, "against": 1 / 2, "colour": 2 / 3}
    )


def test_composites_that_follow_their_overlay_are_worth_one_trial_each_on_one_colour():
    rows = [(0, one, 0, int(one >= 5)) for one in range(20) for _ in range(15)]
    found = trial_of(rows, plain=(range(300), [answer for *_, answer in rows])).accuracy("target")["colour"]
    expected = share(np.arange(20) < 5, np.arange(20))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_all_alike_is_as_many_trials_as_there_are_clusters():
    rows = [(0, one, 0, 0) for one in range(20) for _ in range(15)] + [(1, 30 + one, 2, 1) for one in range(9)]
    expected = binomtest(2, 2).proportion_ci(method="wilson")
    found = trial_of(rows).overall("target")
    assert (found.value, found.low, found.high) == pytest.approx((1, expected.low, 1))


def drawn(rng, contrast=0.0, spread=0.15, overlays=20, classes=12, of_class=0.1):
    """A trial whose backgrounds and overlays each make it easier or harder; the contrast is planted."""
    ease, clutter = rng.normal(0, spread, 2 * overlays), rng.normal(0, spread, classes)
    backgrounds = [Background(c % 2 if group == "with" else 1 - c % 2, group, c, 0.5, 0.0)
                   for c in range(classes) for group in ("with", "against")]  # fmt: skip
    rows = []
    for one in backgrounds:
        for turn in range(60):
            overlay = one.target * overlays + turn % overlays
            lean = clutter[one.source] * (1 if one.group == "with" else -1) * of_class / 0.1
            right = 0.6 + (contrast / 2 if one.group == "with" else -contrast / 2) + ease[overlay] + lean
            rows.append((one.target, overlay, one.source, one.target if rng.random() < right else 1 - one.target))
    return rows, backgrounds


@pytest.mark.parametrize(
    ("spread", "of_class", "contrast"), [(0.05, 0.1, 0), (0.1, 0.1, 0), (0.1, 0, 0), (0.05, 0.1, 0.2)]
)
def test_intervals_of_contrasts_hold_the_truth_over_backgrounds_and_overlays(spread, of_class, contrast):
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        rows, backgrounds = drawn(rng, contrast, spread, of_class=of_class)
        found = contrasts(trial_of(rows, backgrounds=backgrounds))["target"]
        held.append(found.low <= contrast <= found.high)
    assert 0.92 <= np.mean(held) <= 0.985  # three standard errors of 200 trials are 0.046


@pytest.mark.parametrize(("classes", "contrast", "at_least"), [(12, 0.3, 0.95), (12, 0.2, 0.8), (6, 0.4, 0.9)])
def test_planted_contrasts_are_found(classes, contrast, at_least):
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        rows, backgrounds = drawn(rng, contrast, 0.1, classes=classes, of_class=0.05)
        found.append(contrasts(trial_of(rows, backgrounds=backgrounds))["target"].above(0))
    assert np.mean(found) >= at_least


def test_leaving_out_a_cluster_is_computing_again_without_it():
    rng = np.random.default_rng(0)
    cell, clusters, values = rng.integers(0, 6, 300), rng.integers(0, 9, 300), rng.random(300)
    weights = np.tile([1.0, -1.0], 3) / 3

    def of(rows):
        return sum(w * values[rows & (cell == j)].mean() for j, w in enumerate(weights))

    without = np.array([of(clusters != name) for name in range(9)])
    error = np.sqrt(8 / 9 * np.sum((without - of(clusters >= 0)) ** 2))
    sizes = np.bincount(clusters)
    half = error * t.ppf(0.975, sizes.sum() ** 2 / np.sum(sizes**2) - 1)
    found = weighted_means(values, cell, weights, clusters)
    assert (found.value, found.low, found.high) == pytest.approx(
        (of(clusters >= 0), found.value - half, found.value + half)
    )
    assert not weighted_means(values, cell, weights, cell).known


def test_two_equal_models_differ_in_one_of_twenty():
    rng, held = np.random.default_rng(1), []
    for _ in range(200):
        rows, backgrounds = drawn(rng, 0.2, 0.1)
        others = [answer for *_, answer in drawn(rng, 0.2, 0.1)[0]]
        found = contrasts(trial_of(rows, backgrounds=backgrounds, baseline=others))["difference"]
        held.append(found.low <= 0 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.985


def test_without_a_baseline_there_is_one_contrast_and_one_background_class_leaves_it_without_interval():
    rows = [(0, 4, 0, 0), (0, 5, 2, 1), (0, 4, 2, 0), (0, 5, 0, 0), (1, 8, 0, 1), (1, 8, 2, 0)]
    found = contrasts(trial_of(rows))
    assert list(found) == ["target"]
    assert found["target"].value == pytest.approx(((1 - 1 / 2) + (1 - 0)) / 2)
    assert not found["target"].known


@pytest.mark.parametrize("images", [np.full(200, 4), np.r_[np.full(200, 4), np.full(30, 20)], np.full(40, 60)])
def test_chosen_classes_are_found_and_their_held_out_bias_is_that_of_the_classes(images):
    """No winner's curse on the images held out; on those that chose there is one."""
    rng, errors, chosen_errors, truths, covered = np.random.default_rng(0), [], [], [], []
    for _ in range(200):
        planted = np.where(rng.random(len(images)) < 0.15, 0.95, rng.beta(5, 5, len(images)))
        first, second = (images + 1) // 2, images // 2
        votes = [rng.binomial(half, planted) for half in (first, second)]
        counts = [np.stack([hits, half - hits], 1) for hits, half in zip(votes, (first, second), strict=True)]
        shares = counts[0] / first[:, None]
        some = pick_backgrounds(shares, range(len(images)), 0, 3, 4, bounds(counts[0]))
        own = np.array([one.source for one in some if one.group == "with"])
        found = mean_share(votes[1][own], second[own], own)
        truth = planted[own].mean()
        truths.append(truth)
        errors.append(found.value - truth)
        chosen_errors.append(shares[own, 0].mean() - truth)
        covered.append(found.low <= truth <= found.high)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(200)
    assert np.mean(chosen_errors) > 3 * np.std(chosen_errors) / np.sqrt(200)
    assert np.mean(covered) > 0.93
    if images.max() > 4:
        assert np.mean(truths) > 0.85  # by raw shares those of few images win: 0.63 in the second case


@pytest.mark.parametrize(("mean", "alike", "images"), [(0.9, 0.1, 10), (0.8, 0.2, 50), (0.6, 0.1, 50), (0.97, 0.05, 2)])
def test_intervals_of_a_mean_of_class_shares_hold_the_truth(mean, alike, images):
    rng, held, spread = np.random.default_rng(0), [], 1 / alike - 1
    for _ in range(500):
        hits = rng.binomial(images, rng.beta(mean * spread, (1 - mean) * spread, 6))
        found = mean_share(hits, np.full(6, images), np.arange(6))
        held.append(found.low <= mean <= found.high)
    assert np.mean(held) >= 0.92


def test_a_model_at_chance_is_told_from_one_that_follows_the_background():
    answers = np.random.default_rng(0).integers(0, 2, 120).tolist()
    blind = [(i % 2, i % 40, i % 3, answers[i]) for i in range(120)]
    follows = [(i % 2, i % 40, (i // 40) * 2 % 3, i // 40 % 2) for i in range(120)]
    for rows, known in ((blind, False), (follows, True)):
        plain = (range(120), [label if known else answer for label, _, _, answer in rows])
        assert trial_of(rows, plain=plain).at_chance("target") != known


def test_backgrounds_that_are_not_what_their_group_says_are_named():
    backgrounds = [
        Background(0, "with", 0, 0.5, 0.0), Background(0, "with", 1, 0.9, 0.8), Background(0, "neutral", 2, 0.6, 0.2),
        Background(0, "neutral", 3, 0.45, 0.1), Background(0, "against", 4, 0.51, 0.02),
        Background(1, "with", 0, 0.51, 0.02), Background(1, "against", 1, 0.1, 0.8),
    ]  # fmt: skip
    rows = [(one.target, 4, one.source, 0) for one in backgrounds]
    votes = [[50, 50], [90, 10], [95, 5], [45, 55], [51, 49]]
    found = weak_groups(trial_of(rows, backgrounds=backgrounds, votes=votes))
    assert [text.replace(" on held-out images", "").removeprefix("Overlays of ") for text in found] == [
        "ants: 1 of 2 backgrounds in the group “with” are not certain to favour ants (share of ants: 50 %).",
        "ants: 1 of 1 backgrounds in the group “against” are not certain to disfavour ants (share of ants: 51 %).",
        "ants: 1 of 2 backgrounds in the group “neutral” do not have an even vote (share of ants: 95 %).",
        "bees: 1 of 1 backgrounds in the group “with” are not certain to favour bees (share of bees: 50 %).",
    ]

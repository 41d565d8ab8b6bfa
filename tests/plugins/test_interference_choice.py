"""Which detector is written where nobody says: by cross-fitting, and without the images that calibrate or judge."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transferkit_interference.choice import DEFAULT, choose
from transferkit_interference.evaluation import Groups
from transferkit_interference.material import Material, Seen
from transferkit_interference.options import Options
from transferkit_interference.ranks import Judged
from transferkit_interference.threshold import conformal_threshold

from transferkit.analysis import NamedDetector
from transferkit.model import SourceHead
from transferkit.testing import tiny_model

KERNEL = NamedDetector.of("kernel_map")


def material(shape, n=240, seed=0):
    """Features of M^t in the plane. The source model has one number of them: its class 1 lingers where that is large.

    `shape` makes that number of the features: what a linear map cannot copy, only the kernel map finds.
    """
    rng = np.random.default_rng(seed)

    def seen(points, labels):
        target = torch.from_numpy(points).float()
        source = torch.from_numpy(np.c_[shape(points), np.zeros(len(points))]).float()
        return Seen(target, source, np.asarray(labels, dtype=np.int64))

    inner = 0.5 * rng.standard_normal((n, 2))
    turn = rng.uniform(0, 2 * np.pi, n)
    ring = 3 * np.c_[np.cos(turn), np.sin(turn)] + 0.3 * rng.standard_normal((n, 2))
    labels = 1 + np.arange(n) % 8  # eight lingering classes on the ring; class 0 is common in the target
    source = seen(np.r_[ring, inner], np.r_[labels, np.zeros(n, dtype=np.int64)])
    weight = torch.tensor([[-1.0, 0.0], *[[1.0, 0.0]] * 8])
    head = SourceHead(weight, torch.tensor([4.0, *[-4.0] * 8]), [f"s{c}" for c in range(9)])
    half = np.arange(2 * n) % 2 == 0
    memories = SimpleNamespace(lingering=np.arange(1, 9), state=["shared", *["lingering"] * 8])
    nobody = np.zeros(0, dtype=bool)
    train = seen(0.5 * rng.standard_normal((n, 2)), np.arange(n) % 2)
    return Material(
        head=head, own=SourceHead(torch.eye(2), None, ["a", "b"]), source=source,
        source_ids=[f"s{i}" for i in range(2 * n)], train=train, train_ids=[f"t{i}" for i in range(n)], clean=train,
        clean_split="val", fit=half, hold=~half, calibrate=nobody, judge=nobody, halves=None, aside=nobody,
        memories=memories,
    )  # fmt: skip


@pytest.fixture
def session():
    return SimpleNamespace(seed=0, model=lambda role: tiny_model())


def radius(points):
    return (points**2).sum(axis=1)


def test_what_is_certainly_better_is_chosen_and_named(session):
    found = choose(session, Options(), material(radius), [KERNEL])
    assert found.detector is KERNEL
    assert (
        "kernel map of the features is written" in found.text
        and "at noticing source images (1.000 against 0.4" in found.text
    )


def test_what_is_only_as_good_is_not(session):
    found = choose(session, Options(), material(lambda points: 4 + points[:, 0]), [KERNEL])
    assert found.detector == DEFAULT and "none of 4 other detectors" in found.text


def test_images_that_calibrate_or_judge_change_nothing(session):
    plain = material(radius)
    other = material(radius)
    other.source.target[torch.from_numpy(other.hold)] = 7.0
    other.source.source[torch.from_numpy(other.hold)] = 7.0
    texts = [choose(session, Options(), one, [KERNEL]).text for one in (plain, other)]
    assert texts[0] == texts[1]


def test_only_where_nothing_is_said():
    assert Options().free
    assert not any(Options(**one).free for one in ({"head": "refitted"}, {"reduction": "sum"}, {"detect_p": 0.1}))


def test_halves_are_flagged_by_each_others_thresholds():
    clean = np.random.default_rng(0).random(41)
    half = np.arange(41) < 20
    found = Groups({}, np.zeros(0, dtype=bool), (half, ~half)).false_alarms(clean, None, Options(alpha=0.1))
    one, two = (conformal_threshold(torch.from_numpy(clean[part]), 0.1) for part in (half, ~half))
    expected = (clean[half] > two).sum() + (clean[~half] > one).sum()
    assert (found.value, found.n) == (expected / 41, 41)
    fixed = Groups({}, np.zeros(0, dtype=bool), (half, ~half)).false_alarms(clean, 0.7, Options(detect_p=0.7))
    assert fixed.value == (clean > 0.7).mean()


def test_the_mean_of_two_samples_has_half_the_variance_of_each():
    rng = np.random.default_rng(0)
    one, two = (Judged(v, ((rng.standard_normal(50), 49.0),)) for v in (0.5, 0.7))
    both = one.mean(two)
    width = [np.square(one.parts[0][0]).sum(), np.square(two.parts[0][0]).sum()]
    assert both.value == pytest.approx(0.6)
    assert both._error(0.95)[0] ** 2 == pytest.approx(sum(width) / 4)

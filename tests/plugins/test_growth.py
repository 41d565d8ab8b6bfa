"""What was forgotten: the split by hand, its interval by leaving out classes, whole situations, and sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from transferkit_growth import forgetting
from transferkit_growth.analyzer import Growth
from transferkit_growth.measure import places
from transferkit_growth.options import Options
from transferkit_growth.report import report

from tests.golden.situations import BEFORE, LABELS, SIX, sure
from transferkit.errors import InputError
from transferkit.statistics import paired_difference
from transferkit.testing import MadeUpImages, MadeUpModel, made_up_session

GROWN = [*SIX, "owl"]
NEW = [6] * 4


def test_the_split_by_hand():
    """Of five images right before, one is taken for a new class and two are lost; one became right."""
    before = [True, True, True, True, True, False]
    among = [True, True, True, False, False, True]
    after = [True, True, False, False, False, True]
    found = forgetting(before, among, after, [0, 0, 1, 1, 2, 2])
    assert found.total.value == pytest.approx(2 / 6)
    assert found.confused.value == pytest.approx(1 / 6) and found.lost.value == pytest.approx(1 / 6)
    assert found.total.value == pytest.approx(found.confused.value + found.lost.value)


def test_the_interval_leaves_out_each_class():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(8), 12)
    before = rng.random(96) < 0.9
    after = before & (rng.random(96) < np.linspace(0.3, 0.9, 8)[classes])
    whole = forgetting(before, after, after, classes)
    assert whole.total == paired_difference(after, before) and whole.confused.value == 0
    found = whole.over_classes
    less = before.astype(float) - after
    means = np.array([less[classes != one].mean() for one in range(8)])
    error = math.sqrt(7 / 8 * ((means - means.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, 7) * error
    assert (found.low, found.high) == pytest.approx((less.mean() - half, less.mean() + half), abs=1e-9)
    assert found.n == 8


def test_what_cannot_be():
    with pytest.raises(ValueError, match="right answers on 2, 1 and 2 images"):
        forgetting([True, True], [True], [True, True], [0, 1])
    with pytest.raises(ValueError, match="right among the old ones"):
        forgetting([True], [False], [True], [0])


@pytest.mark.parametrize(
    ("old", "grown", "expected"),
    [
        (["a", "b"], ["a", "b", "c"], [0, 1]),
        (["a", "b", "z"], ["c", "b", "a"], [2, 1, -1]),
        (["0", "1"], ["a", "b", "c"], [0, 1]),  # without names: the first ones
    ],
)
def test_which_class_is_which(old, grown, expected):
    assert places(old, grown).tolist() == expected


@pytest.mark.parametrize(
    ("old", "grown", "said"),
    [
        (["a"], ["x", "y"], "none of the classes"),
        (["a", "b"], ["b", "a"], "did not grow"),
        (["a", "b"], ["b"], "not grow"),
    ],
)
def test_nothing_grew(old, grown, said):
    with pytest.raises(InputError, match=said):
        places(old, grown)


def session(folder, after, joint=None, new=(6, 6, 6, 0), source=SIX, grown=GROWN):
    models = {"target": MadeUpModel(grown, {"source": after, "target": sure(list(new), len(grown))})}
    if source is not None:
        models["source"] = MadeUpModel(source, {"source": sure(BEFORE, 6)})
    stages = {"joint": MadeUpModel(grown, {"source": joint, "target": sure(NEW, 7)})} if joint is not None else {}
    keys = {"name": "add", "start": "source", "dataset": "target", "epochs": 1}
    return made_up_session(
        folder,
        images={"source": MadeUpImages(SIX, LABELS), "target": MadeUpImages(grown, {"train": NEW, "val": NEW})},
        models=models,
        stages=stages,
        recipe={"stages": [keys, keys | {"name": "joint"}], "stage": "add"},
        source_classes=SIX,
    )


def test_every_number_of_a_known_situation(tmp_path):
    """All of the first class (10 images) is taken for the owl, which it is second to; the rest stays as it was."""
    answers = [6] * 10 + BEFORE[10:]
    logits = sure(answers, 7)
    logits[np.arange(10), 0] += 3
    found = report(session(tmp_path / "out", logits, joint=sure(BEFORE, 7)), Options("joint"))
    value = found.metrics
    right = sum(a == b for a, b in zip(BEFORE, LABELS, strict=True)) / 36
    assert value["top1_before"] == pytest.approx(right) and value["top1_among_old"] == pytest.approx(right)
    assert value["top1_after"] == pytest.approx(right - 10 / 36)
    assert value["confused"] == value["forgotten"] == pytest.approx(10 / 36) and value["lost"] == 0
    assert value["answered_new"] == pytest.approx(10 / 36)
    assert value["joint_gap"] == pytest.approx(10 / 36) and value["top1_joint"] == pytest.approx(right)
    assert value["top1_new"] == 0.75 and value["top1_new_joint"] == 1.0
    assert value["joint_gap_new"] == 0.25
    first = dict(zip(found.tables["growth"].columns, found.tables["growth"].rows[0], strict=True))
    assert (first["name"], first["mostly_taken_for"], first["forgotten"]) == (SIX[0], "owl", 1.0)
    expected = paired_difference([False] * 10, [True] * 10)
    assert (first["low"], first["high"]) == (expected.low, expected.high)
    assert "nothing was lost, 27.8 points are confused with new classes" in found.verdict
    assert not found.gaps
    assert [key for key in found.metrics if not key.endswith(("_low", "_high"))] == [one.key for one in Growth.metrics]


def test_what_was_lost_altogether(tmp_path):
    answers = [1] * 10 + BEFORE[10:]
    found = report(session(tmp_path / "out", sure(answers, 7)), Options())
    assert found.metrics["confused"] == 0 and found.metrics["lost"] == pytest.approx(10 / 36)
    assert math.isnan(found.metrics["top1_joint"])
    assert "nothing is confused with new classes, 27.8 points were lost altogether" in found.verdict
    assert "Joint" not in found.verdict


def test_nothing_forgotten_is_not_called_certain(tmp_path):
    found = report(session(tmp_path / "out", sure(BEFORE, 7)), Options())
    assert "forgotten is not certain" in found.verdict and "confused" not in found.verdict


def test_without_a_model_it_started_from(tmp_path):
    with pytest.raises(InputError, match="there is none here"):
        report(session(tmp_path / "out", sure(BEFORE, 7), source=None), Options())


def test_without_new_images_or_joint_training_there_are_gaps(tmp_path):
    given = session(tmp_path / "out", sure(BEFORE, 7))
    given.workbench.data["target"] = None
    found = report(given, Options("joint"))
    assert [gap.split(":")[0] for gap in found.gaps] == [
        "Joint training was not compared",
        "New classes were not measured",
    ]

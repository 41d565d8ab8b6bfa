"""The analyzer `lingering` on made-up answers: five states by hand, intervals against resampling, gaps, pictures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from transferkit_lingering import Memories, lingering, memories, prevalence, source_only
from transferkit_lingering.analyzer import Lingering
from transferkit_lingering.intervals import mean_intervals, ratio_intervals
from transferkit_lingering.memory import image_threshold, probability_threshold

from transferkit.errors import InputError
from transferkit.testing import check_plugin, tiny_analysis

from .made_up_audit import MadeUp, column, logits_of, sure_of, written

LABELS = [0] * 6 + [1] * 6 + [2] * 6 + [3] * 2
"""Class 0 is shared, 1 lingers, 2 is forgotten, 3 has two images, 4 none."""


def five_states(folder, **changes):
    """Each class's own probability after fine-tuning: .5, .6, .1, .9; before: .8 for all."""
    after, before = [], []
    for label, own in zip(LABELS, [0.5] * 6 + [0.6] * 6 + [0.1] * 6 + [0.9] * 2, strict=True):
        for rows, p in ((after, own), (before, 0.8)):
            rows.append([p if c == label else (1 - p) / 4 for c in range(5)])
    target = sure_of([0] * 30, 5)
    given = {"swap": logits_of(after), "source": logits_of(before), "target_images": target} | changes
    return MadeUp(folder, LABELS, **given)


def test_five_states_by_hand(tmp_path):
    session = five_states(tmp_path)
    report = written(Lingering(k=1, p_lo=0.3).analyze(session), session)
    table = report.tables["lingering"]
    assert list(table.columns[:7]) == [
        "class", "name", "prevalence", "images", "mean_probability", "relative_retention", "state",
    ]  # fmt: skip
    assert column(table, "state") == ["shared", "lingering", "source_only", "uncertain", "unknown"]
    assert column(table, "prevalence") == [30, 0, 0, 0, 0]
    assert column(table, "prevalence_share") == [1, 0, 0, 0, 0]
    assert column(table, "images") == [6, 6, 6, 2, 0]
    np.testing.assert_allclose(column(table, "mean_probability"), [0.5, 0.6, 0.1, 0.9, math.nan], rtol=1e-6)
    np.testing.assert_allclose(column(table, "source_probability"), [0.8] * 4 + [math.nan], rtol=1e-6)
    np.testing.assert_allclose(column(table, "relative_retention"), [0.625, 0.75, 0.125, 1.125, math.nan], rtol=1e-6)
    np.testing.assert_allclose(column(table, "probability_low")[:2], [0.5, 0.6], rtol=1e-6)  # no spread, no width
    assert report.metrics == {
        "source_only": 4, "lingering": 2, "lingering_certain": 1, "unknown": 1, "uncertain": 1, "shared": 1,
        "relative_retention": pytest.approx((0.75 + 1.125) / 2, rel=1e-6),
    }  # fmt: skip
    assert set(report.metrics) == set(Lingering.metrics)
    assert table.folded and not report.tables["highlights"].folded


def test_the_certain_come_first_in_highlights_and_verdict(tmp_path):
    session = five_states(tmp_path)
    report = Lingering(k=1, p_lo=0.3).analyze(session)
    assert column(report.tables["highlights"], "name") == ["class 1", "class 3"]
    assert "4 of the 5 source classes" in report.verdict
    assert "2 of the 3 that have source images" in report.verdict
    assert "class 1 (75 %, 6 images)" in report.verdict
    assert "class 3" not in report.verdict
    assert any("1 of 4 source-only classes" in gap for gap in report.gaps)


def test_source_only_classes_are_counted_for_every_k(tmp_path):
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=(40, 5))).float()
    session = five_states(tmp_path, target_images=scores)
    table = Lingering(k=2, v_lo=20, top_max=7).analyze(session).tables["prevalence_by_k"]
    assert column(table, "k") == list(range(1, 8))
    assert column(table, "source_only") == [len(source_only(prevalence(scores, k), 20)) for k in range(1, 8)]


def test_memories_agree_with_the_pure_functions(tmp_path):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 11, 200)
    swap, source, target = (torch.from_numpy(rng.normal(size=(n, 12)) * 3).float() for n in (200, 200, 50))
    session = MadeUp(tmp_path, labels, swap=swap, source=source, target_images=target)
    session.peers = {"lingering": Lingering(k=3, v_lo=0.2, p_lo=0.15, min_images=1)}
    found = memories(session)
    assert isinstance(found, Memories)
    counts = prevalence(target, 3)
    only = source_only(counts, 10)
    assert (found.k, found.v_lo, found.p_lo, found.n_target) == (3, 10, 0.15, 50)
    assert found.prevalence.tolist() == counts.tolist()
    assert found.source_only.tolist() == only.tolist()
    expected = lingering(swap.double().softmax(dim=1), torch.from_numpy(labels), only, 0.15)
    assert found.lingering.tolist() == expected.tolist()
    assert [i for i, state in enumerate(found.state) if state == "lingering"] == expected.tolist()
    own = swap.double().softmax(dim=1).numpy()[np.arange(200), labels]
    means = [own[labels == c].mean() if (labels == c).any() else math.nan for c in range(12)]
    np.testing.assert_allclose(found.mean_probability, means, rtol=1e-12)
    assert found.images.tolist() == np.bincount(labels, minlength=12).tolist()


def test_passes_are_kept_for_other_thresholds(tmp_path):
    session = five_states(tmp_path)
    memories(session)
    session.peers = {"lingering": Lingering(k=2, v_lo=3, p_lo=0.01)}
    memories(session)
    assert len(session.computed) == 1


def test_a_model_against_itself_has_forgotten_nothing(tmp_path):
    session = five_states(tmp_path)
    session.source = session.swap
    report = Lingering(k=1, p_lo=0.01).analyze(session)
    assert column(report.tables["lingering"], "relative_retention")[:4] == [1.0] * 4
    assert column(report.tables["lingering"], "relative_low")[:4] == [1.0] * 4
    assert report.metrics["relative_retention"] == 1.0


@pytest.mark.parametrize(("v_lo", "images"), [(0.001, 0), (0.07, 7), (0.29, 29), (0, 0), (1, 1), (3, 3), (2.9, 2)])
def test_v_lo_is_a_count_or_a_share_rounded_down(v_lo, images):
    assert image_threshold(v_lo, 100) == images


def test_default_p_lo_is_ten_times_chance():
    assert probability_threshold(None, 1000) == pytest.approx(0.01)
    assert probability_threshold(None, 12) == 0.5
    assert probability_threshold(0.0, 12) == 0.0


def test_nothing_source_only(tmp_path):
    session = five_states(tmp_path, target_images=torch.zeros(3, 5))
    report = written(Lingering(k=5).analyze(session), session)
    assert report.metrics["source_only"] == 0
    assert math.isnan(report.metrics["relative_retention"])
    assert report.tables["highlights"].rows == []
    assert "no memory of them can linger" in report.verdict


def test_one_image_per_class_has_no_interval_and_no_certainty(tmp_path):
    swap = logits_of(np.full((3, 4), 0.02) + 0.92 * np.eye(4)[:3])
    session = MadeUp(tmp_path, [0, 1, 2], swap=swap, source=swap, target_images=sure_of([3] * 4, 4))
    report = written(Lingering(k=1).analyze(session), session)
    table = report.tables["lingering"]
    assert column(table, "state") == ["uncertain"] * 3 + ["shared"]
    assert all(math.isnan(low) for low in column(table, "probability_low"))
    assert report.metrics["lingering"] == 3
    assert "None of them has 5 images" in report.verdict


def test_missing_models_and_images_are_named(tmp_path):
    with pytest.raises(InputError, match="source model"):
        Lingering().analyze(five_states(tmp_path, source=None))
    with pytest.raises(InputError, match="target images"):
        memories(five_states(tmp_path, target_images=None))
    with pytest.raises(InputError, match="no target images"):
        memories(five_states(tmp_path, target_images=torch.zeros(0, 5)))


def test_no_bootstrap_and_strange_names(tmp_path):
    names = ["$\\alpha$", "<b>&", "=1+1", "a, b, c", "naïve 犬"]
    session = five_states(tmp_path, names=names)
    report = written(Lingering(k=1, p_lo=0.3, bootstrap=0).analyze(session), session)
    assert column(report.tables["lingering"], "name") == names
    assert math.isnan(column(report.tables["lingering"], "probability_low")[0])
    json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def test_intervals_match_scipy_and_do_not_depend_on_other_classes():
    rng = np.random.default_rng(3)
    values, labels = rng.beta(0.4, 2, 190), np.r_[np.zeros(60, int), np.ones(60, int), np.full(69, 2), 4]

    def rng_of(size):
        return np.random.default_rng(size)

    low, high = mean_intervals(values, labels, 6, 4000, rng_of)
    for c in range(3):
        own = values[labels == c]
        expected = scipy.stats.bootstrap((own,), np.mean, n_resamples=20000, method="percentile", rng=rng)
        width = expected.confidence_interval.high - expected.confidence_interval.low
        assert low[c] == pytest.approx(expected.confidence_interval.low, abs=0.04 * width)
        assert high[c] == pytest.approx(expected.confidence_interval.high, abs=0.04 * width)
    assert np.isnan(low[3:]).all() and np.isnan(high[3:]).all()  # no images, one image, no images
    alone = mean_intervals(values[labels == 1], labels[labels == 1], 6, 4000, rng_of)
    np.testing.assert_allclose(alone[0][1], low[1], rtol=1e-12)


def test_intervals_in_pieces_are_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    values, labels = rng.random(40), np.repeat(np.arange(8), 5)
    expected = mean_intervals(values, labels, 8, 300, np.random.default_rng)
    monkeypatch.setattr("transferkit_lingering.intervals.CELLS", 600)  # two classes, 120 resamples at a time
    found = mean_intervals(values, labels, 8, 300, np.random.default_rng)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_ratio_intervals_pair_the_images():
    rng = np.random.default_rng(5)
    before = rng.uniform(0.1, 1, 50)
    low, high = ratio_intervals(before / 2, before, np.zeros(50, int), 1, 500, np.random.default_rng)
    np.testing.assert_allclose([low[0], high[0]], 0.5, rtol=1e-12)  # half of every image: no doubt about the ratio
    low, high = ratio_intervals(before, 0 * before, np.zeros(50, int), 1, 500, np.random.default_rng)
    assert not np.isfinite(low[0]) or not np.isfinite(high[0])


def test_on_the_tiny_models_of_a_real_session(tmp_path):
    session = tiny_analysis(tmp_path)
    report = written(Lingering(k=1).analyze(session), session)
    assert len(report.tables["lingering"].rows) == 12
    again = Lingering(k=1).analyze(session)
    assert json.dumps(again.metrics) == json.dumps(report.metrics)


def test_keeps_the_promises_of_a_plugin():
    check_plugin(Lingering, k=2, top_max=3)

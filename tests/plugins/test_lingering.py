"""The analyzer `lingering` on made-up answers: five states by hand, intervals against resampling, gaps, pictures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from transferkit_lingering import lingering, prevalence, source_only
from transferkit_lingering.analyzer import Lingering

from transferkit.analysis import Memories, image_threshold, memories
from transferkit.analysis.source_memory import probability_threshold
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.testing import check_plugin, tiny_analysis

from .made_up_audit import column, logits_of, made_up, sure_of, written

LABELS = [0] * 6 + [1] * 6 + [2] * 6 + [3] * 2
"""Class 0 is shared, 1 lingers, 2 is forgotten, 3 has two images, 4 none."""


def five_states(folder, *, itself=False, **changes):
    """Each class's own probability after fine-tuning: .5, .6, .1, .9; before: .8 for all."""
    after, before = [], []
    for label, own in zip(LABELS, [0.5] * 6 + [0.6] * 6 + [0.1] * 6 + [0.9] * 2, strict=True):
        for rows, p in ((after, own), (before, 0.8)):
            rows.append([p if c == label else (1 - p) / 4 for c in range(5)])
    target = sure_of([0] * 30, 5)
    given = {"swap": logits_of(after), "source": logits_of(before), "target_images": target} | changes
    return made_up(folder, LABELS, **(given | ({"source": given["swap"]} if itself else {})))


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
    np.testing.assert_allclose(column(table, "relative_retention"), [0.625, 0.75, 0.125, 1, math.nan], rtol=1e-6)
    np.testing.assert_allclose(column(table, "probability_low")[:2], [0.5, 0.6], rtol=1e-6)  # no spread, no width
    assert report.metrics == {
        "source_only": 4, "lingering": 2, "lingering_certain": 1, "forgotten_certain": 1, "unknown": 1, "uncertain": 1,
        "shared": 1,
        "probability_left": pytest.approx((0.6 + 0.1) / (0.8 + 0.8), rel=1e-6),
        "probability_left_low": 0, "probability_left_high": 1,  # of the jackknife's 4.408, all that can be left
    }  # fmt: skip
    assert set(report.metrics) == set(Declared.of(Lingering).metric_keys)
    assert table.folded and not report.tables["highlights"].folded


def test_the_certain_come_first_in_highlights_and_verdict(tmp_path):
    session = five_states(tmp_path)
    report = Lingering(k=1, p_lo=0.3).analyze(session)
    assert column(report.tables["highlights"], "name") == ["class 1", "class 3"]
    assert "4 of the 5 source classes" in report.verdict
    assert "2 of the 3 that have source images" in report.verdict
    assert "for certain, by the 95 % interval, 1 linger and 1 are forgotten" in report.verdict
    assert "class 1 (75 % or more, 6 images)" in report.verdict
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
    session = made_up(tmp_path, labels, swap=swap, source=source, target_images=target)
    session.peers = {"lingering": Lingering(k=3, v_lo=0.2, p_lo=0.15)}
    found = memories(session)
    assert isinstance(found, Memories)
    counts = prevalence(target, 3)
    only = source_only(counts, 10)
    assert (found.k, found.v_lo, found.p_lo, found.n_target) == (3, 10, 0.15, 50)
    assert found.prevalence.tolist() == counts.tolist()
    assert found.source_only.tolist() == only.tolist()
    expected = lingering(swap.double().softmax(dim=1), torch.from_numpy(labels), only, 0.15)
    assert found.lingering.tolist() == expected.tolist()
    certain = {c for c, state in enumerate(found.state) if state == "lingering"}
    forgotten = {c for c, state in enumerate(found.state) if state == "source_only"}
    assert certain <= set(expected.tolist()) and not forgotten & set(expected.tolist())
    own = swap.double().softmax(dim=1).numpy()[np.arange(200), labels]
    means = [own[labels == c].mean() if (labels == c).any() else math.nan for c in range(12)]
    np.testing.assert_allclose(found.mean_probability, means, rtol=1e-12)
    assert found.images.tolist() == np.bincount(labels, minlength=12).tolist()


def test_passes_are_kept_for_other_thresholds(tmp_path, monkeypatch):
    session = five_states(tmp_path)
    memories(session)
    session.peers = {"lingering": Lingering(k=2, v_lo=3, p_lo=0.01)}
    monkeypatch.setattr("transferkit.analysis.workbench.features_of", None)
    monkeypatch.setattr("transferkit.analysis.source_memory.prevalence_by_k", None)
    memories(session)


def test_a_model_against_itself_has_forgotten_nothing(tmp_path):
    session = five_states(tmp_path, itself=True)
    report = Lingering(k=1, p_lo=0.01).analyze(session)
    assert column(report.tables["lingering"], "relative_retention")[:4] == [1.0] * 4
    assert column(report.tables["lingering"], "relative_low")[:4] == [1.0] * 4
    assert report.metrics["probability_left"] == 1.0


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
    assert math.isnan(report.metrics["probability_left"])
    assert report.tables["highlights"].rows == []
    assert "no memory of them can linger" in report.verdict


def test_one_image_per_class_has_no_interval_and_no_certainty(tmp_path):
    swap = logits_of(np.full((3, 4), 0.02) + 0.92 * np.eye(4)[:3])
    session = made_up(tmp_path, [0, 1, 2], swap=swap, source=swap, target_images=sure_of([3] * 4, 4))
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
    with pytest.raises(InputError, match="there is no image in this split"):
        memories(five_states(tmp_path, target_images=torch.zeros(0, 5)))


def test_strange_names(tmp_path):
    names = ["$\\alpha$", "<b>&", "=1+1", "a, b, c", "naïve 犬"]
    session = five_states(tmp_path, names=names)
    report = written(Lingering(k=1, p_lo=0.3).analyze(session), session)
    assert column(report.tables["lingering"], "name") == names
    json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def test_intervals_of_many_images_are_scipys(tmp_path):
    rng = np.random.default_rng(3)
    after, before = rng.uniform(0.05, 0.6, 120), rng.uniform(0.5, 0.9, 120)
    swap, source = (logits_of(np.stack([own, 1 - own], axis=1)) for own in (after, before))
    session = made_up(tmp_path, [0] * 120, swap=swap, source=source, target_images=sure_of([1] * 9, 2))
    table = Lingering(k=1).analyze(session).tables["lingering"]
    for name, samples, statistic in (
        ("probability", (after,), lambda x, axis: np.mean(x, axis=axis)),
        ("relative", (after, before), lambda x, y, axis: np.mean(x, axis=axis) / np.mean(y, axis=axis)),
    ):
        expected = scipy.stats.bootstrap(
            samples, statistic, n_resamples=20000, paired=True, method="percentile", rng=rng
        ).confidence_interval
        found = [column(table, f"{name}_{end}")[0] for end in ("low", "high")]
        assert found == pytest.approx(list(expected), abs=0.06 * (expected.high - expected.low))


def planted(folder, rng, *, classes=120, sizes=(5, 8, 20), mean=None, p_lo=0.3):
    """Source-only classes whose probabilities are beta distributed around a mean that is known."""
    truth = rng.beta(1, 2, classes) if mean is None else np.full(classes, mean)
    labels = np.repeat(np.arange(classes), rng.choice(sizes, classes))
    after = rng.beta(2 * truth[labels], 2 * (1 - truth[labels])).clip(1e-6, 1 - 1e-6)
    rows = np.repeat((1 - after)[:, None] / classes, classes + 1, axis=1)
    rows[np.arange(len(labels)), labels] = after
    swap, source = logits_of(rows), sure_of(labels, classes + 1)
    session = made_up(folder, labels, swap=swap, source=source, target_images=sure_of([classes] * 9, classes + 1))
    return truth, Lingering(k=1, p_lo=p_lo).analyze(session)


def test_states_are_wrong_as_rarely_as_their_intervals_say(tmp_path):
    """Near the threshold few classes get a state, and far from it most do, the right one."""
    for seed in range(3):
        truth, report = planted(tmp_path / str(seed), np.random.default_rng(seed))
        table = report.tables["lingering"]
        state = np.array(column(table, "state"))[:-1]
        wrong = ((state == "lingering") & (truth <= 0.3)) | ((state == "source_only") & (truth > 0.3))
        assert wrong.mean() <= 0.04
        assert (state[truth > 0.8] == "lingering").mean() > 0.8
        assert (state[truth < 0.02] == "source_only").mean() > 0.5
        inside = [low <= p <= high for low, p, high in zip(
            column(table, "probability_low"), truth, column(table, "probability_high"), strict=False)]  # fmt: skip
        assert np.mean(inside) > 0.9


def test_classes_at_the_threshold_are_uncertain(tmp_path):
    _, report = planted(tmp_path, np.random.default_rng(0), classes=300, mean=0.3)
    assert report.metrics["lingering_certain"] + report.metrics["forgotten_certain"] <= 0.08 * 300
    assert report.metrics["lingering"] > 90  # by the mean alone about half of them linger


def own_probabilities(labels, own):
    """Logits of four classes, with that probability for each image's own one."""
    return logits_of(
        [[p if c == label else (1 - p) / 3 for c in range(4)] for label, p in zip(labels, own, strict=True)]
    )


def test_what_is_left_is_a_ratio_of_sums_and_does_not_choose(tmp_path):
    """A class that M^s hardly knew cannot carry the number, and noise does not pick who is counted."""
    labels = np.repeat([0, 1, 2], 6)
    after, before = np.repeat([0.4, 0.02, 0.05], 6), np.repeat([0.8, 0.8, 0.01], 6)
    rows = [own_probabilities(labels, own) for own in (after, before)]
    session = made_up(tmp_path, labels, swap=rows[0], source=rows[1], target_images=sure_of([3] * 9, 4))
    report = Lingering(k=1, p_lo=0.1).analyze(session)
    assert report.metrics["probability_left"] == pytest.approx(0.47 / 1.61, rel=1e-6)
    assert max(column(report.tables["lingering"], "relative_retention")[:3]) == 1  # 0.05 of 0.01: at most all is left
    assert any("Chance level of probability_left: 0.466" in note for note in report.notes)  # 3 / 4 / 1.61


def test_the_list_goes_by_the_lower_end(tmp_path):
    """Six images at 60 % are a surer memory than five of which one was lost."""
    labels = np.repeat([0, 1, 2], [5, 20, 20])
    after = np.array([0.9, 0.9, 0.9, 0.9, 0.05, *[0.6, 0.7] * 10, *[0.02, 0.03] * 10])
    rows = own_probabilities(labels, after)
    session = made_up(tmp_path, labels, swap=rows, source=sure_of(labels, 4), target_images=sure_of([3] * 9, 4))
    report = Lingering(k=1, p_lo=0.1).analyze(session)
    means = column(report.tables["lingering"], "relative_retention")
    assert means[0] > means[1]
    assert column(report.tables["highlights"], "class")[:2] == [1, 0]


def test_on_the_tiny_models_of_a_real_session(tmp_path):
    session = tiny_analysis(tmp_path)
    report = written(Lingering(k=1).analyze(session), session)
    assert len(report.tables["lingering"].rows) == 12
    again = Lingering(k=1).analyze(session)
    assert json.dumps(again.metrics) == json.dumps(report.metrics)


def test_keeps_the_promises_of_a_plugin():
    check_plugin(Lingering, k=2, top_max=3)

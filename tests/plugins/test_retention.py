"""The analyzer `retention`: made-up answers by hand, identity, batch norm, intervals, gaps."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from transferkit_lingering.analyzer import Lingering
from transferkit_retention import batchnorm
from transferkit_retention.analyzer import Retention
from transferkit_retention.measure import compare

from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.testing import check_plugin, tiny_analysis, tiny_model

from .made_up_audit import column, made_up, sure_of, written

LABELS = [0] * 10 + [1] * 10 + [2] * 4
BEFORE = [0] * 10 + [1] * 8 + [0] * 2 + [2] * 4
AFTER = [0] * 2 + [1] * 8 + [1] * 6 + [0] * 4 + [2] * 3 + [3]


def wilson(hits, total):
    return tuple(binomtest(hits, total).proportion_ci(method="wilson"))


def by_hand(folder, labels=LABELS, **changes):
    """Recall before: 1, .8, 1; after: .2, .6, .75; class 3 has no images; class 0 is common in the target."""
    given = {"swap": sure_of(AFTER, 4), "source": sure_of(BEFORE, 4), "target_images": sure_of([0] * 9 + [1], 4)}
    return made_up(folder, labels, peers={"lingering": Lingering(k=1)}, **(given | changes))


def test_recalls_top1_and_ratios_by_hand(tmp_path):
    session = by_hand(tmp_path)
    report = written(Retention(common=0.5).analyze(session), session)
    table = report.tables["retention"]
    assert list(table.columns) == [
        "class", "name", "images", "recall_source", "recall_head_swap", "relative_retention",
    ]  # fmt: skip
    assert column(table, "images") == [10, 10, 4, 0]
    np.testing.assert_allclose(column(table, "recall_source"), [1, 0.8, 1, math.nan])
    np.testing.assert_allclose(column(table, "recall_head_swap"), [0.2, 0.6, 0.75, math.nan])
    np.testing.assert_allclose(column(table, "relative_retention"), [0.2, 0.75, 0.75, math.nan])
    assert table.folded
    metrics = report.metrics
    assert set(metrics) == set(Declared.of(Retention).metric_keys)
    assert metrics["top1_source"] == pytest.approx(22 / 24)
    assert metrics["top1_head_swap"] == pytest.approx(11 / 24)
    assert metrics["relative_retention"] == pytest.approx(0.5)
    assert metrics["top1_source_low"] < wilson(22, 24)[0]  # three classes are worth less than 24 images
    assert metrics["relative_retention_low"] < 0.5 < metrics["relative_retention_high"]
    assert metrics["relative_retention_chance"] == pytest.approx(0.25 * 24 / 22)
    assert (metrics["recalled_half"], metrics["recalled_half_source"]) == pytest.approx((2 / 3, 1))
    assert metrics["recalled_half_high"] == pytest.approx(wilson(2, 3)[1])
    assert metrics["images_per_class"] == 10
    assert metrics["relative_retention_gap"] == pytest.approx(8 / 18 - 0.75)
    assert math.isnan(metrics["relative_retention_gap_low"])  # there is one source-only class
    assert metrics["relative_retention_common"] == pytest.approx(0.2)
    assert metrics["relative_retention_rare"] == pytest.approx(0.75)
    assert metrics["relative_retention_source_only"] == pytest.approx(0.75)


def test_histogram_and_prevalence_tables_by_hand(tmp_path):
    report = Retention(common=0.5).analyze(by_hand(tmp_path))
    histogram = report.tables["histogram"]
    assert column(histogram, "head_swap") == [1, 0, 1, 1, 0, 0, 3]
    assert column(histogram, "source") == [0, 0, 0, 0, 1, 2, 3]
    groups = report.tables["by_prevalence"]
    assert column(groups, "prevalence") == ["source-only", "rare", "common", "rare or common"]
    assert column(groups, "images") == [4, 10, 10, 20]
    assert column(groups, "classes") == [1, 1, 1, 2]
    np.testing.assert_allclose(column(groups, "relative_retention"), [0.75, 0.75, 0.2, 8 / 18])


def forgetting(folder, shown, hidden, *, seed=0, classes=60, images=10):
    """Half of the classes show in the target; what the source knew of each class, it still knows with a chance around
    `shown`, or `hidden`, that differs between classes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    mean = np.where(np.arange(classes) < classes // 2, shown, hidden)
    right = rng.random(len(labels)) < rng.beta(6 * mean, 6 * (1 - mean))[labels]
    after = np.where(right, labels, (labels + 1) % classes)
    seen = sure_of(np.arange(classes // 2), classes)
    return by_hand(folder, labels, swap=sure_of(after, classes), source=sure_of(labels, classes), target_images=seen)


def test_verdict_says_where_most_was_lost_only_when_the_gap_is_certain(tmp_path):
    unclear = Retention().analyze(by_hand(tmp_path)).verdict
    assert "45.8 % of 24 source images" in unclear and "91.7 %" in unclear and "50 %" in unclear
    assert "too few classes to say which lost more" in unclear
    lost = Retention().analyze(forgetting(tmp_path / "lost", 0.2, 0.8))
    assert "less is left of the ones that are shown, -" in lost.verdict
    assert lost.metrics["relative_retention_gap_high"] < 0
    kept = Retention().analyze(forgetting(tmp_path / "kept", 0.8, 0.2))
    assert "more is left of the ones that are shown, " in kept.verdict
    small = Retention().analyze(forgetting(tmp_path / "small", 0.7, 0.5, classes=120))
    assert "less" not in small.verdict and small.metrics["relative_retention_gap_low"] > 0


def test_no_difference_is_called_one_in_at_most_one_of_twenty(tmp_path):
    called = [
        "is left of the ones" in Retention().analyze(forgetting(tmp_path / str(seed), 0.6, 0.6, seed=seed)).verdict
        for seed in range(60)
    ]
    assert np.mean(called) <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


def test_a_model_at_chance_is_said_to_be(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 10)
    swap = sure_of(rng.integers(0, 20, 200), 20)
    session = by_hand(tmp_path, labels, swap=swap, source=sure_of(labels, 20), target_images=sure_of([0] * 9, 20))
    report = Retention().analyze(session)
    assert "not certainly more than the 5 % of answers at random" in report.verdict
    assert report.metrics["relative_retention_chance"] == pytest.approx(0.05)


def test_without_a_source_model(tmp_path):
    session = by_hand(tmp_path, source=None)
    report = written(Retention().analyze(session), session)
    assert all(math.isnan(value) for value in column(report.tables["retention"], "recall_source"))
    assert report.metrics["top1_head_swap"] == pytest.approx(11 / 24)
    assert math.isnan(report.metrics["relative_retention"]) and math.isnan(report.metrics["top1_source"])
    assert any("no source model" in gap for gap in report.gaps)
    assert "unknown" in report.verdict
    with pytest.raises(InputError, match="bn: source needs the source model"):
        Retention(bn="source").analyze(session)


def test_without_target_images(tmp_path):
    session = by_hand(tmp_path, target_images=None)
    report = written(Retention().analyze(session), session)
    assert report.metrics["relative_retention"] == pytest.approx(0.5)
    assert math.isnan(report.metrics["relative_retention_common"])
    assert "by_prevalence" not in report.tables
    assert any("Retention by prevalence was not measured" in gap for gap in report.gaps)


def test_a_source_model_that_is_never_right(tmp_path):
    session = by_hand(tmp_path, source=sure_of([3] * 24, 4))
    report = written(Retention().analyze(session), session)
    assert math.isnan(report.metrics["relative_retention"])
    assert any("no source image right" in gap for gap in report.gaps)


def test_a_probe_is_mentioned(tmp_path, monkeypatch):
    session = by_hand(tmp_path)
    monkeypatch.setattr("transferkit.analysis.workbench.Workbench.source_head_is_probe", True)
    assert any("ridge regression" in note for note in Retention().analyze(session).notes)


def against_itself(folder):
    session = tiny_analysis(folder)
    session.workbench.models["target"] = session.workbench.models["source"]
    session.workbench.data["target"] = "source"
    return session


def test_a_model_against_itself_keeps_everything_exactly(tmp_path):
    session = against_itself(tmp_path)
    swap = session.predictions("target").logits(session.source_head())
    assert torch.equal(swap, session.predictions("source").logits())
    report = written(Retention().analyze(session), session)
    assert report.metrics["relative_retention"] == 1.0
    ends = {report.metrics["relative_retention_low"], report.metrics["relative_retention_high"]}
    right = sum(share > 0 for share in column(report.tables["retention"], "recall_source"))
    # where a single class is recognised there is nothing left without it, and so no interval
    assert ends == {1.0} if right > 1 else all(math.isnan(end) for end in ends)
    table = report.tables["retention"]
    assert column(table, "recall_source") == column(table, "recall_head_swap")


def test_comparison_against_an_explicit_bootstrap_of_classes():
    rng = np.random.default_rng(0)
    labels, skill = np.repeat(np.arange(60), 5), rng.beta(4, 2, 60)
    source = rng.random(300) < 0.8
    swap = rng.random(300) < np.where(source, skill[labels], 0.2)
    found = compare(source, swap, labels)
    rows = np.arange(300).reshape(60, 5)[rng.integers(0, 60, (20000, 60))].reshape(20000, 300)
    low, high = np.percentile(swap[rows].mean(axis=1) / source[rows].mean(axis=1), (2.5, 97.5))
    assert found.ratio.value == pytest.approx(swap.mean() / source.mean())
    assert (found.ratio.low, found.ratio.high) == pytest.approx((low, high), abs=0.02)
    low, high = np.percentile(swap[rows].mean(axis=1), (2.5, 97.5))
    assert (found.swap.low, found.swap.high) == pytest.approx((low, high), abs=0.015)
    assert (found.classes, found.images) == (60, 300)
    assert not compare(source[:5], swap[:5], labels[:5]).ratio.known
    assert math.isnan(compare(source[:0], swap[:0], labels[:0]).swap.value)


# -- batch norm ---------------------------------------------------------------------------------------------------


def statistics_of(model):
    return {
        f"{name}.{kind}": getattr(layer, kind).clone()
        for name, layer in batchnorm.batch_norms(model).items()
        for kind in batchnorm.STATISTICS
    }


def disturbed(folder):
    """A tiny session whose target and source have running statistics of their own."""
    session = tiny_analysis(folder)
    with torch.no_grad():
        for role, shift in (("source", 0.3), ("target", -0.2)):
            for layer in batchnorm.batch_norms(session.model(role)).values():
                layer.running_mean += shift
                layer.running_var *= 1 + abs(shift)
    return session


def test_source_statistics_go_into_a_copy(tmp_path):
    session = disturbed(tmp_path)
    before = statistics_of(session.model("target"))
    changed = batchnorm.with_statistics(session.model("target"), batchnorm.source_statistics(session))
    expected = copy.deepcopy(session.model("target"))
    donors = batchnorm.batch_norms(session.model("source"))
    for name, layer in batchnorm.batch_norms(expected).items():
        layer.running_mean, layer.running_var = donors[name].running_mean, donors[name].running_var
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed(images).features, expected(images).features)
    after = statistics_of(session.model("target"))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not changed.training


def test_recalibrated_statistics_are_those_of_the_images(tmp_path):
    """Of one batch, the first layer's mean and variance can be taken from its input directly."""
    session = disturbed(tmp_path)
    before = statistics_of(session.model("target"))
    found = batchnorm.recalibrated_statistics(session, 2048)
    name, layer = next(iter(batchnorm.batch_norms(session.model("target")).items()))
    seen = []
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    samples = session.samples("source")
    images, _ = samples.batch(np.arange(len(samples)), np.zeros(len(samples), dtype=int))
    session.model("target")(images)
    handle.remove()
    mean, var = seen[0].mean(dim=(0, 2, 3)), seen[0].var(dim=(0, 2, 3))
    torch.testing.assert_close(found[f"{name}.running_mean"], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[f"{name}.running_var"], var, rtol=1e-4, atol=1e-5)
    after = statistics_of(session.model("target"))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not session.model("target").training


@pytest.mark.parametrize("bn", ["source", "recalibrated"])
def test_other_statistics_change_the_head_swap_alone(tmp_path, bn):
    session = disturbed(tmp_path)
    before = session.predictions("target").features.clone()
    plain = Retention(bn="target").analyze(session)
    other = written(Retention(bn=bn).analyze(session), session)
    assert plain.metrics["top1_source"] == other.metrics["top1_source"]
    assert any(f"(bn: {bn})" in note for note in other.notes)
    assert torch.equal(session.predictions("target").features, before)


def test_several_batches_and_dropped_rests(tmp_path, monkeypatch):
    monkeypatch.setattr(batchnorm, "BATCH_SIZE", 10)  # 24 images: two batches
    session = disturbed(tmp_path)
    sizes = [len(images) for images in batchnorm._mixed_batches(session, 2048)]
    assert sizes == [10, 10]
    assert [len(images) for images in batchnorm._mixed_batches(session, 7)] == [7]
    found = batchnorm.recalibrated_statistics(session, 2048)
    assert all(value.isfinite().all() for value in found.values())


def test_models_without_batch_norm_give_the_same_numbers_and_say_so(tmp_path):
    from functools import partial

    from transferkit.analysis.workbench import Given
    from transferkit.data import world

    session = tiny_analysis(tmp_path)
    source = tiny_model(world.SOURCE_CLASSES, name="test_vit", img_size=32)
    target = tiny_model(world.TARGET_CLASSES, name="test_vit", img_size=32, seed=1)
    for role, model in (("source", source), ("target", target)):
        session.workbench.models[role] = Given(role, partial(lambda m: (m, None), model))
    reports = [Retention(bn=bn).analyze(session) for bn in ("target", "source", "recalibrated")]
    assert reports[0].metrics["top1_head_swap"] == reports[1].metrics["top1_head_swap"]
    assert reports[0].metrics["top1_head_swap"] == reports[2].metrics["top1_head_swap"]
    assert all(any("no batch normalisation" in note for note in report.notes) for report in reports)


def test_batch_norms_that_do_not_match_are_refused(tmp_path):
    session = disturbed(tmp_path)
    name = next(iter(batchnorm.batch_norms(session.model("source"))))
    layer = batchnorm.batch_norms(session.model("source"))[name]
    layer.running_mean, layer.running_var = torch.zeros(1), torch.ones(1)
    with pytest.raises(InputError, match="no batch norm like"):
        batchnorm.source_statistics(session)


def test_keeps_the_promises_of_a_plugin():
    check_plugin(Retention, bn="recalibrated")

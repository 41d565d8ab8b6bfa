"""Metrics against scikit-learn and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transferkit_metrics import auroc, balanced_accuracy, ece, f1_macro, worst_group
from transferkit_metrics.metrics import AUROC, ECE, BalancedAccuracy, F1Macro, WorstGroup

from transferkit.testing import check_plugin

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def drawn(seed: int, classes: int, n: int = 60):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).round(1)  # with ties
    return (logits + np.eye(classes)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_like_scikit_learn(seed, classes):
    logits, labels = drawn(seed, classes)
    predicted, probabilities = logits.argmax(1), softmax(logits.astype(float), axis=1)
    assert balanced_accuracy(logits, labels) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, predicted)
    )
    assert f1_macro(logits, labels) == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    given = probabilities[:, 1] if classes == 2 else probabilities
    wanted = sklearn_metrics.roc_auc_score(labels, given, multi_class="ovr", average="macro")
    assert auroc(logits, labels) == pytest.approx(wanted)


def test_classes_without_images_are_left_out():
    logits, labels = drawn(0, 5)
    labels[labels == 4] = 0
    predicted = logits.argmax(1)
    assert f1_macro(logits, labels) == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    recalls = [(predicted[labels == one] == one).mean() for one in range(4)]
    assert balanced_accuracy(logits, labels) == pytest.approx(np.mean(recalls))
    assert math.isnan(auroc(logits, np.zeros(60, dtype=int)))


def test_ece_by_hand():
    log = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.35, 0.65], [0.5, 0.5]]))
    labels = np.array([0, 1, 1, 0])
    # two bins: (0, 0.5] holds 0.5 (right), (0.5, 1] holds 0.9 right, 0.8 wrong, 0.65 right
    by_hand = (abs(1 - 0.5) + abs(2 - (0.9 + 0.8 + 0.65))) / 4
    assert ece(log, labels, bins=2) == pytest.approx(by_hand)
    sure = np.array([[50.0, 0.0]] * 4)
    assert ece(sure, np.array([0, 0, 0, 1])) == pytest.approx(0.25)
    assert ece(sure + 1000, np.array([0, 0, 0, 1])) == pytest.approx(0.25)  # logits are known up to a constant


def test_worst_group_by_hand():
    logits = np.eye(2)[[0, 0, 1, 1, 1]]
    labels, groups = np.array([0, 1, 1, 1, 0]), np.array([4, 4, 9, 9, 9])
    assert worst_group(logits, labels, groups) == 0.5
    assert worst_group(logits, labels, np.arange(5)) == 0.0


def test_invariances():
    logits, labels = drawn(1, 4)
    order, groups = np.random.default_rng(0).permutation(60), np.arange(60) % 3
    for score in (balanced_accuracy, f1_macro, auroc, ece):
        assert score(logits[order], labels[order]) == pytest.approx(score(logits, labels))
        assert score(logits + 3, labels) == pytest.approx(score(logits, labels), abs=1e-6)
    assert worst_group(logits[order], labels[order], groups[order]) == worst_group(logits, labels, groups)


def test_no_images():
    none, labels = np.zeros((0, 3)), np.zeros(0, dtype=int)
    assert all(math.isnan(score(none, labels)) for score in (balanced_accuracy, f1_macro, auroc, ece))
    assert math.isnan(worst_group(none, labels, labels))


@pytest.mark.parametrize("cls", [BalancedAccuracy, F1Macro, AUROC, ECE, WorstGroup])
def test_the_promises_of_a_plugin(cls):
    check_plugin(cls)
    (metric,) = cls.metrics
    logits, labels = drawn(2, 3)
    offer = {"logits": torch.from_numpy(logits), "labels": torch.from_numpy(labels)}
    offer |= {"groups": torch.from_numpy(labels)} if cls is WorstGroup else {}
    assert list(cls().score(**offer)) == [metric.key]

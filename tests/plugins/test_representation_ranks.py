"""Ranks and linear probes: by hand, against NumPy, and against refits by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transferkit_representation import (
    entropy_rank,
    numerical_rank,
    participation_ratio,
    ridge_probe,
    stable_rank,
)
from transferkit_representation.probes import FoldedRidge, held_out, spread_of, stratified_folds
from transferkit_representation.spectra import participation_without, singular_values


def related(n=40, p=7, q=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    return torch.from_numpy(x), torch.from_numpy(x @ rng.standard_normal((p, q)) + rng.standard_normal((n, q)))


def with_singular_values(values, n=30, d=8, seed=0):
    """(n, d) float64 with exactly these singular values once it is centred, around a mean of 5."""
    rng = np.random.default_rng(seed)
    centred = rng.standard_normal((n, len(values)))
    left = np.linalg.qr(centred - centred.mean(axis=0))[0]
    right = np.linalg.qr(rng.standard_normal((d, len(values))))[0]
    return torch.from_numpy(left @ np.diag(values) @ right.T + 5)


class TestRanks:
    def test_the_threshold_is_of_singular_values_not_of_eigenvalues(self):
        features = with_singular_values([1, 0.1, 0.05, 0.01, 0.002, 1e-5])
        assert numerical_rank(features) == 5  # on eigenvalues 1e-3 would leave 3: 1, 0.01 and 0.0025
        assert numerical_rank(features, tau=math.sqrt(1e-3)) == 3
        assert numerical_rank(features, tau=1e-6) == 6

    def test_the_threshold_itself_does_not_count(self):
        features = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # s = 4√2, √2
        assert numerical_rank(features, tau=0.24) == 2
        assert numerical_rank(features, tau=0.25) == 1

    def test_centred(self):
        values = torch.arange(6.0)
        assert numerical_rank(torch.stack([values, values + 1], dim=1)) == 1
        assert numerical_rank(torch.full((6, 3), 1e6) + torch.eye(6, 3)) == 3

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
    def test_constant_features_have_none(self, dtype):
        features = torch.full((50, 7), 0.1, dtype=dtype)
        assert numerical_rank(features) == 0 and type(numerical_rank(features)) is int
        assert all(math.isnan(of(features)) for of in (stable_rank, participation_ratio, entropy_rank))
        assert numerical_rank(features[:1]) == 0

    def test_rounding_of_a_constant_is_no_rank(self):
        noise = 1e-8 * torch.from_numpy(np.random.default_rng(0).standard_normal((50, 7)))
        assert numerical_rank((1000 + 1e4 * noise).float()) == 0

    def test_ceiling(self):
        wide = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 9, 2, 2)))
        assert numerical_rank(wide) == 4
        assert numerical_rank(wide[:, :3, 0, 0]) == 3

    def test_others_by_hand(self):
        features = with_singular_values([2, 1, 1])
        assert stable_rank(features) == pytest.approx(6 / 4)
        assert participation_ratio(features) == pytest.approx(36 / 18)
        assert entropy_rank(features) == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)))
        even = with_singular_values([3, 3, 3, 3])
        assert [round(of(even), 9) for of in (stable_rank, participation_ratio, entropy_rank)] == [4, 4, 4]
        assert participation_ratio(7 * features) == pytest.approx(2)

    def test_singular_values_against_numpy(self):
        features = related(50, 8)[0] + 3
        expected = np.linalg.svd(features.numpy() - features.numpy().mean(axis=0), compute_uv=False)
        np.testing.assert_allclose(singular_values(features), expected, rtol=1e-12)

    def test_what_is_refused(self):
        with pytest.raises(ValueError, match="finite"):
            numerical_rank(torch.tensor([[math.nan]]))
        with pytest.raises(ValueError, match="images"):
            numerical_rank(torch.zeros(0, 3))
        with pytest.raises(ValueError, match="tau"):
            numerical_rank(torch.eye(3), tau=1.5)


class TestRidge:
    @pytest.mark.parametrize("lam", [0.0, 0.1, 100.0])
    @pytest.mark.parametrize("shape", [(40, 7, 3), (6, 11, 2)])
    def test_against_least_squares_on_stretched_data(self, lam, shape):
        n, d, k = shape
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((n, d)) + 4, rng.standard_normal((n, k))
        a, b = x - x.mean(axis=0), y - y.mean(axis=0)
        stretched = np.vstack([a, math.sqrt(lam) * np.eye(d)])
        expected = np.linalg.lstsq(stretched, np.vstack([b, np.zeros((d, k))]), rcond=None)[0]
        found = ridge_probe(torch.from_numpy(x), torch.from_numpy(y), lam)
        np.testing.assert_allclose(found, expected, atol=1e-10)

    def test_by_hand(self):
        x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]])
        assert float(ridge_probe(x, y, 0.0)) == pytest.approx(0.5)
        assert float(ridge_probe(x, y, 2.0)) == pytest.approx(0.25)  # Σab / (Σaa + lam) = 1 / (2 + 2)

    def test_dtypes(self):
        x, y = related()
        assert ridge_probe(x, y, 1.0).dtype == torch.float64
        assert ridge_probe(x.float(), (y > 0).long(), 1.0).dtype == torch.float32
        assert ridge_probe(x.half(), y, 1.0).dtype == torch.float32
        assert not ridge_probe(torch.full((5, 2), 0.1), torch.eye(5), 0.0).any()

    def test_what_is_refused(self):
        x, y = related()
        for arguments in ((x, y[:5], 1.0), (x, y[:, 0], 1.0), (x, y, -1.0), (x, y, math.nan), (x / 0, y, 1.0)):
            with pytest.raises(ValueError, match="ridge_probe"):
                ridge_probe(*arguments)


def labelled(n=60, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    rows = rng.standard_normal((n, d)) * [1, 5, 0.2, 1, 1, 1e-9][:d] + 2
    rows[np.arange(n), labels] += 1
    return torch.from_numpy(rows).float(), torch.from_numpy(labels)


def refitted(rows, labels, folds, classes, lams):
    """Scores (lambdas, n, classes) by scikit-like refits on standardised features, fold by fold."""
    rows, scores = rows.double().numpy(), np.empty((len(lams), len(rows), classes))
    target = np.eye(classes)[labels.numpy()]
    for fold in range(int(folds.max()) + 1):
        out = (folds == fold).numpy()
        mean = rows[~out].mean(axis=0)
        scale = spread_of(torch.from_numpy(rows[~out].var(axis=0))).numpy()
        x, y = (rows[~out] - mean) / scale, target[~out]
        for i, lam in enumerate(lams):
            weights = np.linalg.solve(x.T @ x + lam * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
            scores[i, out] = (rows[out] - mean) / scale @ weights + y.mean(axis=0)
    return scores


class TestProbes:
    def test_sums_without_a_fold_are_refits_without_it(self):
        rows, labels = labelled()
        folds = stratified_folds(labels, 5)
        sums = FoldedRidge(6, 3, 5)
        for part in (slice(0, 13), slice(13, 14), slice(14, 60)):  # batch by batch
            sums.update(rows[part], labels[part], folds[part])
        lams = (1e-4, 1.0, 1e4)
        expected = refitted(rows, labels, folds, 3, lams)
        for fold in range(5):
            out = folds == fold
            for i, (weights, offset) in enumerate(sums.probes(fold, lams)):
                np.testing.assert_allclose(rows[out].double() @ weights + offset, expected[i, out], atol=1e-8)

    @pytest.mark.parametrize("d", [6, 80])  # by sums, and by the kernel
    def test_every_answer_is_by_a_probe_and_a_lambda_that_have_not_seen_the_image(self, d):
        rows, labels = labelled()
        if d > 6:
            extra = np.random.default_rng(1).standard_normal((60, d - 6))
            rows = torch.cat([rows, torch.from_numpy(extra).float()], dim=1)
        folds, lams = stratified_folds(labels, 4), (1e-4, 1.0, 100.0, 1e4)
        probe = held_out(rows, labels, folds, 3, lams=lams)
        right = refitted(rows, labels, folds, 3, lams).argmax(axis=2) == labels.numpy()
        expected = np.empty(60, dtype=bool)
        for fold in range(4):
            out = (folds == fold).numpy()
            elsewhere = right[:, ~out].sum(axis=1)
            expected[out] = right[max(i for i in range(4) if elsewhere[i] == elsewhere.max()), out]
        np.testing.assert_array_equal(probe.correct, expected)
        totals = right.sum(axis=1)
        assert probe.lam == lams[max(i for i in range(4) if totals[i] == totals.max())]

    def test_labels_without_meaning_are_not_learned(self):
        rng = np.random.default_rng(0)
        rows = torch.from_numpy(rng.standard_normal((300, 200))).float()
        labels = torch.arange(300) % 2
        accuracy = float(held_out(rows, labels, stratified_folds(labels, 5), 2).correct.double().mean())
        assert 0.38 < accuracy < 0.62

    def test_weights_make_positions_count_as_one_image(self):
        rows, labels = labelled()
        folds = stratified_folds(labels, 5)
        once, thrice = FoldedRidge(6, 3, 5), FoldedRidge(6, 3, 5)
        once.update(rows, labels, folds)
        thrice.update(*(part.repeat_interleave(3, dim=0) for part in (rows, labels, folds)), weight=1 / 3)
        for a, b in zip(once.probes(1), thrice.probes(1), strict=True):
            torch.testing.assert_close(a, b)

    def test_a_feature_that_never_changes_is_harmless(self):
        rows, labels = labelled()
        folds = stratified_folds(labels, 5)
        more = torch.cat([rows, torch.full((60, 2), 3.0)], dim=1)
        assert torch.equal(held_out(more, labels, folds, 3).correct, held_out(rows, labels, folds, 3).correct)

    def test_folds_hold_every_class_evenly(self):
        labels = torch.tensor([2] * 9 + [0] * 7 + [1] * 5)
        folds = stratified_folds(labels, 4)
        assert sorted(torch.bincount(folds).tolist()) == [5, 5, 5, 6]
        for label, most in ((2, 3), (0, 2), (1, 2)):
            assert int(torch.bincount(folds[labels == label], minlength=4).max()) == most


@pytest.mark.parametrize("shape", [(30, 8), (20, 50)])
def test_participation_without_a_part_is_that_of_the_rest(shape):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + 5
    parts = torch.arange(shape[0]) % 4
    expected = [participation_ratio(rows[parts != part]) for part in range(4)]
    assert participation_without(rows, parts).tolist() == pytest.approx(expected, rel=1e-6)

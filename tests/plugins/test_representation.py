"""CKA: against NumPy from the definitions, by what must not change it, and in float32 where others fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transferkit_representation import MinibatchCKA, cka
from transferkit_representation.similarity import FullCKA, cka_ratio

from transferkit.errors import InputError


def hsic(x, y, estimator):
    """By the definitions, entry by entry where it is the definition's way. (n, p), (n, q) float64."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    if estimator == "biased":
        h = np.eye(n) - np.ones((n, n)) / n
        return np.trace(k @ h @ m @ h) / (n - 1) ** 2
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def oracle(x, y, estimator="unbiased"):
    x, y = (np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in (x, y))
    return hsic(x, y, estimator) / math.sqrt(hsic(x, x, estimator) * hsic(y, y, estimator))


def related(n=40, p=7, q=5, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    y = np.maximum(x @ rng.standard_normal((p, q)), 0) + 0.3 * rng.standard_normal((n, q))
    return torch.from_numpy(x).to(dtype), torch.from_numpy(y).to(dtype)


BOTH = pytest.mark.parametrize("estimator", ["unbiased", "biased"])


class TestCKA:
    @BOTH
    @pytest.mark.parametrize(("n", "p", "q"), [(4, 3, 2), (40, 7, 5), (12, 60, 80), (200, 3, 4)])
    def test_agrees_with_the_definition(self, estimator, n, p, q):
        x, y = related(n, p, q)
        found = cka(x, y, estimator)
        assert type(found) is float
        assert found == pytest.approx(oracle(x, y, estimator), abs=1e-10)

    @BOTH
    def test_of_itself_is_one_however_turned_scaled_and_moved(self, estimator):
        x, y = related()
        turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(1).standard_normal((7, 7)))[0])
        assert cka(x, x, estimator) == pytest.approx(1, abs=1e-12)
        moved = 3.7 * x @ turn + 12
        assert cka(moved, x, estimator) == pytest.approx(1, abs=1e-10)
        assert cka(moved, y, estimator) == pytest.approx(cka(x, y, estimator), abs=1e-10)
        order = torch.from_numpy(np.random.default_rng(2).permutation(40))
        assert cka(x[order], y[order], estimator) == pytest.approx(cka(x, y, estimator), abs=1e-12)
        assert cka(x[order], y, estimator) != pytest.approx(cka(x, y, estimator), abs=1e-2)

    def test_symmetric_and_by_default_unbiased(self):
        x, y = related()
        assert cka(x, y) == pytest.approx(cka(y, x), abs=1e-13) == cka(x, y, "unbiased")

    def test_maps_count_as_rows(self):
        maps = torch.from_numpy(np.random.default_rng(0).standard_normal((9, 3, 4, 5)))
        other = maps[:, :2].contiguous()
        expected = oracle(maps.numpy(), other.numpy())
        assert cka(maps, other) == pytest.approx(expected, abs=1e-10)
        assert cka(maps.contiguous(memory_format=torch.channels_last), other) == pytest.approx(expected, abs=1e-10)
        assert cka(maps[:, 0, 0, 0], other) == pytest.approx(
            oracle(maps[:, 0, 0, :1].numpy(), other.numpy()), abs=1e-10
        )

    def test_unbiased_is_zero_on_average_for_unrelated_features_and_biased_is_not(self):
        rng = np.random.default_rng(0)
        pairs = [torch.from_numpy(rng.standard_normal((2, 16, 256))) for _ in range(40)]
        assert abs(np.mean([cka(x, y) for x, y in pairs])) < 0.05
        assert np.mean([cka(x, y, "biased") for x, y in pairs]) > 0.9

    @BOTH
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
    def test_constant_input_gives_nan(self, estimator, dtype, value):
        x, y = (part.to(dtype) for part in related())
        for width in (3, 500):
            flat = torch.full((40, width), value, dtype=dtype)
            assert math.isnan(cka(flat, y, estimator))
            assert math.isnan(cka(x, flat, estimator))
            assert math.isnan(cka(flat, torch.rand(40, 900, dtype=dtype), estimator))

    def test_nothing_left_after_centring_is_nan_and_not_noise(self):
        corners = torch.eye(12, dtype=torch.float64)  # all pairs of images equally unlike
        assert math.isnan(cka(corners, torch.rand(12, 40, dtype=torch.float64)))

    def test_values_that_are_not_finite_give_nan(self):
        x, y = related()
        x[3, 2] = math.inf
        assert math.isnan(cka(x, y)) and math.isnan(cka(x[:, :1].repeat(1, 400), y.repeat(1, 100)) * cka(x, y))

    @BOTH
    def test_float32_with_a_large_common_mean(self, estimator):
        x, y = (part.relu() + 100 for part in related(64, 300, 200, dtype=torch.float32))
        a, b = (part.double() - part.double().mean(dim=0) for part in (x, y))  # or the oracle itself is off by 1e-5
        assert cka(x, y, estimator) == pytest.approx(oracle(a, b, estimator), abs=1e-10)

    def test_half_types_and_whole_numbers(self):
        x, y = related()
        assert cka(x.half(), y.bfloat16()) == pytest.approx(oracle(x.half(), y.bfloat16().double()), abs=1e-6)
        counts = torch.arange(40).reshape(20, 2) ** 2
        assert cka(counts, y[:20]) == pytest.approx(oracle(counts, y[:20]), abs=1e-10)

    def test_what_is_refused(self):
        x, y = related(3)
        with pytest.raises(ValueError, match="at least 4 images, not 3"):
            cka(x, y)
        assert cka(x, y, "biased") == pytest.approx(oracle(x, y, "biased"))
        with pytest.raises(ValueError, match="one row per image"):
            cka(x, y[:2], "biased")
        with pytest.raises(ValueError, match="estimator is one of"):
            cka(x, y, "debiased")


def layers(batches=3, n=16, seed=0):
    """Per batch a list of three layers of each side."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(batches):
        x = rng.standard_normal((n, 6))
        found.append(
            (
                [torch.from_numpy(part) for part in (x, np.tanh(x @ rng.standard_normal((6, 40))), x**2)],
                [torch.from_numpy(part) for part in (x[:, :3] + rng.standard_normal((n, 3)), np.abs(x))],
            )
        )
    return found


class TestMinibatchCKA:
    @BOTH
    def test_terms_are_averaged_before_the_ratio(self, estimator):
        given = layers()
        similar = MinibatchCKA(estimator)
        for xs, ys in given:
            similar.update(xs, ys)
        expected = np.empty((3, 2))
        for i in range(3):
            for j in range(2):
                terms = [
                    [hsic(a.numpy(), b.numpy(), estimator) for a, b in pairs]
                    for pairs in (
                        [(xs[i], ys[j]) for xs, ys in given],
                        [(xs[i], xs[i]) for xs, _ in given],
                        [(ys[j], ys[j]) for _, ys in given],
                    )
                ]
                cross, own_x, own_y = (np.mean(part) for part in terms)
                expected[i, j] = cross / math.sqrt(own_x * own_y)
        assert similar.compute().dtype == torch.float64
        np.testing.assert_allclose(similar.compute(), expected, atol=1e-12)
        assert similar.reasons == {}

    def test_one_batch_is_cka(self):
        ((xs, ys),) = layers(1)
        similar = MinibatchCKA()
        similar.update(xs, ys)
        np.testing.assert_allclose(similar.compute(), [[cka(x, y) for y in ys] for x in xs], atol=1e-12)

    def test_of_itself(self):
        ((xs, _),) = layers(1)
        similar = MinibatchCKA()
        similar.update(xs, xs)
        np.testing.assert_allclose(similar.compute(), similar.compute().T, atol=1e-12)
        np.testing.assert_allclose(similar.compute().diagonal(), 1, atol=1e-12)

    def test_float32_after_relu_on_a_large_common_part(self):
        """What the package torch_cka gets wrong by more than 0.01."""
        rng = np.random.default_rng(0)
        similar, exact = MinibatchCKA(), MinibatchCKA()
        for _ in range(4):
            common = 30 + rng.random((1, 8, 16, 16))
            xs = [torch.from_numpy(np.maximum(common + rng.standard_normal((64, 8, 16, 16)), 0)).float() for _ in "ab"]
            ys = [xs[0] + 0.5 * xs[1].flip(0), xs[1].square() / 30]
            similar.update(xs, ys)
            exact.update([x.double() for x in xs], [y.double() for y in ys])
        np.testing.assert_allclose(similar.compute(), exact.compute(), atol=1e-5)
        assert float(exact.compute()[0, 0]) > 0.5

    def test_constant_and_broken_layers_are_nan_with_reasons_and_harm_no_other(self):
        similar = MinibatchCKA()
        for xs, ys in layers():
            broken = xs[2].clone()
            broken[0, 0] = math.nan
            similar.update([xs[0], torch.full((16, 5), 0.1), broken], ys)
        alone = MinibatchCKA()
        for xs, ys in layers():
            alone.update(xs[:1], ys)
        torch.testing.assert_close(similar.compute()[:1], alone.compute())
        assert similar.compute()[1:].isnan().all()
        assert similar.reasons == {
            (1, 0): "its outputs are the same for every image",
            (1, 1): "its outputs are the same for every image",
            (2, 0): "its outputs are not finite",
            (2, 1): "its outputs are not finite",
        }

    def test_is_not_clipped(self):
        rng = np.random.default_rng(3)
        similar = MinibatchCKA()
        similar.update(*([torch.from_numpy(rng.standard_normal((5, 3))) for _ in range(9)] for _ in "xy"))
        assert float(similar.compute().min()) < 0

    def test_what_is_refused(self):
        similar = MinibatchCKA()
        ((xs, ys),) = layers(1)
        with pytest.raises(ValueError, match="no batch"):
            similar.compute()
        with pytest.raises(ValueError, match="at least 4 images, not 3; leave it out"):
            similar.update([x[:3] for x in xs], [y[:3] for y in ys])
        with pytest.raises(ValueError, match="the same images"):
            similar.update(xs, [y[:8] for y in ys])
        similar.update(xs, ys)
        with pytest.raises(ValueError, match="2 and 2 layers after 3 and 2"):
            similar.update(xs[:2], ys)


class TestFullCKA:
    @BOTH
    @pytest.mark.parametrize(("memory", "passes"), [(1.0, 1), (1.08e-4, 3)])
    def test_in_blocks_it_is_that_of_all_images(self, estimator, memory, passes):
        given = layers(5, 16)
        given[-1] = tuple([part[:9] for part in side] for side in given[-1])
        given = [tuple([part.float() + 20 for part in side] for side in batch) for batch in given]
        images = 4 * 16 + 9
        similar, done = FullCKA(images, memory, estimator), 0
        while similar.start < images:
            for number, (xs, ys) in enumerate(given):
                if 16 * number >= similar.start:
                    similar.update(16 * number, xs, ys)
            similar.next_block()
            done += 1
        assert done == passes
        whole = [[torch.cat([batch[side][i] for batch in given]) for i in range(3 - side)] for side in (0, 1)]
        expected = [[oracle(x, y, estimator) for y in whole[1]] for x in whole[0]]
        np.testing.assert_allclose(cka_ratio(*similar.terms()), expected, atol=1e-5)

    def test_too_little_memory_is_said(self):
        ((xs, ys),) = layers(1)
        with pytest.raises(InputError, match="more `memory`, fewer `images`"):
            FullCKA(16, 1e-6).update(0, xs, ys)

    def test_a_constant_layer_is_nan(self):
        ((xs, ys),) = layers(1)
        similar = FullCKA(16, 1.0)
        similar.update(0, [xs[0].float(), torch.full((16, 5), 7.1)], [ys[0].float()])
        found = cka_ratio(*similar.terms())
        assert found[1].isnan().all() and found[0].isfinite().all()

"""LEACE against its definition worked out otherwise: KKT equations, matrix square roots, probes fitted by scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.linalg import fractional_matrix_power
from scipy.optimize import minimize
from transferkit_leace.edit import Leace

from tests.plugins.two_stage_runs import recipe, run, weights
from transferkit.analysis import Moments, classes_called, eraser, leace, linear_probe
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def drawn(n: int = 400, d: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Correlated features of four classes that differ in means and in spread; concepts are classes 1 and 2."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * (1 + 0.3 * y[:, None]) + rng.normal(size=(4, d))[y]
    z = np.stack([y == 1, y == 2], axis=1).astype(float)
    return torch.from_numpy(x), torch.from_numpy(z), torch.from_numpy(y)


def covariances(x, z):
    x, z = x.numpy() - x.numpy().mean(0), z.numpy() - z.numpy().mean(0)
    return x.T @ x / len(x), x.T @ z / len(x)


@pytest.mark.parametrize("ridge", [0.0, 0.1, 10.0])
def test_class_means_are_equal_and_nothing_correlates_any_more(ridge):
    x, z, y = drawn()
    erased = leace(x, z, ridge)(x)
    means = torch.stack([erased[y == 1].mean(0), erased[y == 2].mean(0), erased[(y == 0) | (y == 3)].mean(0)])
    assert float((means - means[0]).abs().max()) < 1e-10
    assert np.abs(covariances(erased, z)[1]).max() < 1e-8


def test_it_is_the_projection_of_the_definition():
    """x − W⁺ P W (x − μ), with W a matrix square root that scipy takes and P from an orthonormal basis."""
    x, z, _ = drawn()
    sigma, cross = covariances(x, z)
    whiten, back = fractional_matrix_power(sigma, -0.5), fractional_matrix_power(sigma, 0.5)
    basis = np.linalg.qr(whiten @ cross)[0]
    expected = np.eye(len(sigma)) - back @ basis @ basis.T @ whiten
    found = leace(x, z)
    np.testing.assert_allclose(found.projection.numpy(), expected, atol=1e-9)
    mean = x.numpy().mean(0)
    np.testing.assert_allclose(found(x).numpy(), (x.numpy() - mean) @ expected.T + mean, atol=1e-9)


def test_of_all_affine_erasers_it_changes_least():
    """Brute force: each row of the map minimises its own mean square change under A Σxz = 0, by its KKT equations."""
    x, z, _ = drawn()
    sigma, cross = covariances(x, z)
    d, k = cross.shape
    kkt = np.block([[2 * sigma, cross], [cross.T, np.zeros((k, k))]])
    rows = [np.linalg.solve(kkt, np.r_[2 * sigma[i], np.zeros(k)])[:d] for i in range(d)]
    np.testing.assert_allclose(leace(x, z).projection.numpy(), np.stack(rows), atol=1e-9)
    least = np.stack(rows) - np.eye(d)
    orthogonal = -cross @ np.linalg.pinv(cross)  # which erases too, and moves more
    assert np.trace(least @ sigma @ least.T) < np.trace(orthogonal @ sigma @ orthogonal.T)


def test_no_linear_probe_gains_over_a_constant():
    x, z, _ = drawn()
    erased, flags = leace(x, z)(x).numpy(), z.numpy()[:, 0]
    design = np.c_[erased, np.ones(len(erased))]
    fitted = design @ np.linalg.lstsq(design, flags, rcond=1e-8)[0]  # what is erased has no direction of its own
    np.testing.assert_allclose(fitted, flags.mean(), atol=1e-9)

    def loss(theta):
        s = design @ theta
        p = 1 / (1 + np.exp(-s))
        return np.mean(np.logaddexp(0, s) - flags * s), design.T @ (p - flags) / len(s)

    share = flags.mean()
    constant = -share * np.log(share) - (1 - share) * np.log(1 - share)
    best = minimize(loss, np.full(design.shape[1], 0.3), jac=True, tol=1e-12).fun
    assert best == pytest.approx(constant, abs=1e-8)
    plain = np.c_[x.numpy(), np.ones(len(x))]
    assert np.abs(np.linalg.lstsq(plain, flags, rcond=None)[0][:-1]).max() > 1e-3  # it was there before


def test_folded_heads_answer_as_on_erased_features():
    x, z, _ = drawn()
    found, rng = leace(x, z), torch.Generator().manual_seed(1)
    weight, bias = (torch.randn(*shape, dtype=torch.float64, generator=rng) for shape in ((3, 8), (3,)))
    new = found.fold(weight, bias)
    torch.testing.assert_close(x @ new[0].T + new[1], found(x) @ weight.T + bias)
    without = found.fold(weight, None)
    torch.testing.assert_close(x @ without[0].T + without[1], found(x) @ weight.T)


def test_singular_covariances():
    x, z, _ = drawn()
    doubled = torch.cat([x, x[:, :3]], dim=1)
    assert np.abs(covariances(leace(doubled, z)(doubled), z)[1]).max() < 1e-8
    torch.testing.assert_close(leace(doubled, z)(doubled)[:, :3], leace(doubled, z)(doubled)[:, 8:])
    torch.testing.assert_close(leace(x, z, None).projection, leace(x, z, 8 / 400).projection)
    few, flags = x[:6], z[:6, :1].clone()
    flags[0] = 1 - flags[0]
    assert np.abs(covariances(leace(few, flags, 0.1)(few), flags)[1]).max() < 1e-8


def test_it_follows_shifts_and_turns_and_the_order_of_images():
    x, z, _ = drawn()
    torch.testing.assert_close(leace(x + 5, z)(x + 5), leace(x, z)(x) + 5)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    torch.testing.assert_close(leace(x @ turn, z)(x @ turn), leace(x, z)(x) @ turn)
    parts = Moments.of(x[:100], z[:100]).plus(Moments.of(x[100:], z[100:]))
    torch.testing.assert_close(eraser(parts).projection, leace(x, z).projection)
    assert torch.linalg.matrix_rank(leace(x, z).projection) == 6


def test_refusals():
    x, z, _ = drawn()
    with pytest.raises(ValueError, match=r"features \(n, d\) and concepts \(n, k\)"):
        leace(x, z[:, 0])
    with pytest.raises(ValueError, match="not finite"):
        leace(torch.full_like(x, float("nan")), z)
    with pytest.raises(InputError, match="it is none of them"):
        classes_called(["plough"], ["disc", "ring"])


def test_classes_are_found_by_their_own_names_and_by_those_of_imagenet():
    assert classes_called(["Disc", "1"], ["disc", "ring"]) == [0, 1]
    assert classes_called(["espresso", "n03028079"], ["n03028079", "n07920052"]) == [1, 0]


def test_the_probe_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, z, _ = drawn()
    flags = z[:, 0].bool()
    found = linear_probe(x, flags, np.random.default_rng(0))
    from transferkit.analysis.probing import _fit

    weight, bias, mean, scale = _fit(x, flags)
    standard = ((x - mean) / scale).numpy()
    fitted = linear_model.LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=10_000)
    fitted.fit(standard, flags.numpy())
    np.testing.assert_allclose(weight.numpy(), fitted.coef_[0], atol=1e-4)
    np.testing.assert_allclose(float(bias), fitted.intercept_[0], atol=1e-4)
    assert 0.5 < found.value < 1 and found.low < found.value < found.high
    erased = linear_probe(leace(x, z)(x), flags, np.random.default_rng(0))
    assert erased.low < 0.5 < erased.high or erased.value < 0.5


def test_the_probe_has_nothing_to_say_of_too_few():
    x = drawn()[0]
    few = torch.zeros(len(x), dtype=torch.bool)
    few[:3] = True
    assert np.isnan(linear_probe(x, few, np.random.default_rng(0)).value)


@pytest.mark.parametrize("ridge", [0.5, 1.0])
def test_the_promises_of_a_plugin(ridge):
    check_plugin(Leace, classes=["cat"], dataset="tiny", ridge=ridge)


def test_in_a_run_both_heads_forget_and_the_backbone_stays(tmp_path):
    edits = [{"use": "leace", "dataset": "digits", "classes": ["3"]}]
    content = recipe()
    content["stages"].append({"name": "edited", "start": "target", "dataset": "permuted", "edits": edits})
    done = run(tmp_path, content)
    before, after = weights(done.run_dir), weights(done.run_dir, "edited")
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    (record,) = done.stages["edited"]["edits"]
    assert changed == {name for name in record["changed"] if not name.startswith("source_head")}
    assert len(record["changed"]) == 4 and "too few unseen images" in record["notes"][0]  # two of each class
    assert record["after"]["val"]["top1"] == done.stages["edited"]["evaluations"]["val"]["top1"]


def test_options():
    component = installed().get("edit", "leace")
    assert component.create({"classes": ["a"], "dataset": "x"}).ridge is None
    with pytest.raises(ValidationError):
        component.create({"classes": [], "dataset": "x"})

"""The temperature against SciPy's and by hand, its judgement on made-up models that are too sure, and that are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special
from transferkit_temperature.analyzer import TemperatureScaling
from transferkit_temperature.scaling import (
    calibration_error,
    classwise_error,
    cross_fitted,
    fit_temperature,
    losses,
    probabilities,
)

from transferkit.testing import MadeUpImages, MadeUpModel, check_plugin, made_up_session


def drawn(n, factor, classes=3, seed=0):
    """Logits that are `factor` times those that the labels are drawn by."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    chances = special.softmax(logits, axis=1)
    labels = (rng.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return factor * logits, labels


def analysed(folder, logits, labels, **options):
    images = {"target": MadeUpImages(["a", "b", "c"], labels)}
    models = {"target": MadeUpModel(["a", "b", "c"], {"target": logits})}
    return TemperatureScaling(**options).analyze(made_up_session(folder, images=images, models=models))


def test_keeps_the_promises_of_a_plugin():
    check_plugin(TemperatureScaling)


def test_losses_by_scipy():
    logits, labels = drawn(50, 2)
    expected = -special.log_softmax(logits / 1.7, axis=1)[np.arange(50), labels]
    np.testing.assert_allclose(losses(logits, labels, 1.7), expected, atol=1e-12)
    np.testing.assert_allclose(probabilities(logits, 1.7), special.softmax(logits / 1.7, axis=1), atol=1e-12)
    with pytest.raises(ValueError):
        losses(logits, labels + 3)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_fit_is_the_minimum_that_gradients_find(factor):
    logits, labels = drawn(400, factor)
    found = optimize.minimize(
        lambda t: losses(logits, labels, np.exp(t[0])).mean(), [0.0], method="L-BFGS-B", tol=1e-14
    )
    assert fit_temperature(logits, labels) == pytest.approx(float(np.exp(found.x[0])), rel=1e-3)


def test_the_fit_follows_the_scale_and_finds_it():
    logits, labels = drawn(4000, 3.0)
    assert fit_temperature(logits, labels) == pytest.approx(3, rel=0.1)
    assert fit_temperature(2 * logits, labels) == pytest.approx(2 * fit_temperature(logits, labels), rel=1e-4)


def test_ends():
    sure = np.array([[9.0, 0.0], [0.0, 9.0]])
    assert fit_temperature(sure, [0, 1]) == pytest.approx(0.05)
    assert fit_temperature(sure, [1, 0]) == pytest.approx(20)
    with pytest.raises(ValueError):
        fit_temperature(np.zeros((0, 2)), [])


def test_no_image_is_judged_by_a_temperature_that_it_was_fitted_with():
    logits, labels = drawn(60, 2)
    found = cross_fitted(logits, labels, 4, np.random.default_rng(1))
    groups = [np.flatnonzero(found == one) for one in np.unique(found)]
    assert len(groups) == 4 and {len(group) for group in groups} == {15}
    for group in groups:
        others = np.setdiff1d(np.arange(60), group)
        assert found[group[0]] == fit_temperature(logits[others], labels[others])


def test_errors_by_hand():
    assert calibration_error([0.6, 0.6, 0.9, 0.9], [1, 0, 1, 1], 10) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    chances = np.array([[0.75, 0.25], [0.75, 0.25]])
    assert classwise_error(chances, [0, 1], 4) == pytest.approx(0.25)
    assert math.isnan(calibration_error([], []))


def test_a_model_that_is_too_sure_is_mended(tmp_path):
    logits, labels = drawn(600, 4.0)
    report = analysed(tmp_path, logits, labels)
    found = report.metrics
    assert found["temperature"] == pytest.approx(4, rel=0.2) and found["gain_low"] > 0
    assert found["nll_before"] - found["nll_after"] == pytest.approx(found["gain"])
    assert found["error_after"] < found["error_before"] / 2 and found["classwise_after"] < found["classwise_before"]
    assert "answers are less sure" in report.verdict and "not opened from a model folder" in report.notes[0]
    assert (tmp_path / "reliability.svg").is_file() or list(tmp_path.rglob("reliability.svg"))


def test_one_that_is_right_is_left_alone(tmp_path):
    report = analysed(tmp_path, *drawn(300, 1.0))
    assert report.metrics["gain_low"] <= 0 and report.notes[0] == "It is not kept."
    assert report.verdict.startswith("No temperature makes its probabilities certainly better")


def test_it_is_rarely_kept_where_there_is_nothing_to_mend():
    """Of 200 models whose probabilities are exact, about 2.5 % may be thought mended by their own luck."""
    kept = 0
    for seed in range(200):
        logits, labels = drawn(150, 1.0, seed=seed)
        saved = losses(logits, labels) - losses(
            logits, labels, cross_fitted(logits, labels, 5, np.random.default_rng(seed))
        )
        kept += saved.mean() > 1.976 * saved.std(ddof=1) / math.sqrt(150)
    assert kept <= 10


def test_few_images_are_a_gap(tmp_path):
    assert analysed(tmp_path, *drawn(10, 1.0)).gaps

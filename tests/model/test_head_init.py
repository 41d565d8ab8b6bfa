"""The ridge head against brute force, and the stability limit against a simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize, minimize_scalar

from transferkit.errors import InputError
from transferkit.model import SourceHead, build
from transferkit.model.head_init import (
    RELATIVE_LAMBDAS,
    _Ridge,
    calibrating_scale,
    head_lr_limit,
    initialise_head,
    ridge_head,
    rows_of,
)
from transferkit.model.preprocessing import Preprocess
from transferkit.recipe.schema import Model


def problem(n=30, d=6, classes=3, seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = rng.normal(size=(classes, d)) * spread
    features = centres[labels] + rng.normal(size=(n, d)) + 5
    return torch.tensor(features), torch.tensor(labels)


def brute_force(x, y, lam):
    """Weighted ridge with a free intercept, by the normal equations of the joint problem."""
    design = np.hstack([x, np.ones((len(x), 1))])
    penalty = lam * np.diag([1.0] * x.shape[1] + [0.0])
    return np.linalg.solve(design.T @ design + penalty, design.T @ y)


@pytest.mark.parametrize("shape", [(30, 6), (12, 20)])
def test_leave_one_out_is_what_leaving_out_gives(shape):
    features, labels = problem(*shape)
    x, y = features.numpy(), np.eye(3)[labels.numpy()]
    lam = 3.7
    expected = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        solution = brute_force(x[rest], y[rest], lam)
        expected.append(np.append(x[i], 1) @ solution)
    fit = _Ridge(features, torch.tensor(y))
    assert np.allclose(fit.leave_one_out_predictions(lam).numpy(), expected, atol=1e-9)
    assert np.allclose(fit.coefficients(lam).numpy(), brute_force(x, y, lam)[:-1].T, atol=1e-9)


def test_the_head_is_the_best_ridge_fit_scaled():
    features, labels = problem()
    x, y = features.numpy(), np.eye(3)[labels.numpy()]
    weight, bias = ridge_head(features, labels, 3)

    largest = np.linalg.svd(x - x.mean(0), compute_uv=False)[0] ** 2
    errors = []
    for lam in RELATIVE_LAMBDAS.numpy() * largest:
        rows = [np.arange(len(x)) != i for i in range(len(x))]
        out = [np.append(x[i], 1) @ brute_force(x[r], y[r], lam) for i, r in enumerate(rows)]
        errors.append((((y - np.array(out)) ** 2).sum(), lam, np.array(out)))
    _, lam, scores = min(errors, key=lambda item: item[0])
    smooth = 1 / (len(x) + 2)
    target = y * (1 - smooth) + smooth / 3

    def loss(scale):
        logits = scale * scores
        return -(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum()

    scale = minimize_scalar(loss, bounds=(0, 100), method="bounded", options={"xatol": 1e-10}).x
    solution = brute_force(x, y, lam) * scale
    assert np.allclose(weight.numpy(), solution[:-1].T, rtol=1e-5, atol=1e-7)
    assert np.allclose(bias.numpy(), solution[-1], rtol=1e-5, atol=1e-6)


def test_shifting_the_features_changes_no_logit():
    features, labels = problem()
    shift = torch.linspace(-50, 50, features.shape[1], dtype=torch.float64)
    one, two = ridge_head(features, labels, 3), ridge_head(features + shift, labels, 3)
    logits = features @ one[0].T + one[1]
    assert torch.allclose(logits, (features + shift) @ two[0].T + two[1], atol=1e-8)


def test_noise_gets_probabilities_near_the_prior():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(200, 50, generator=rng)
    labels = torch.arange(200) % 2
    weight, bias = ridge_head(features, labels, 2)
    fresh = torch.randn(500, 50, generator=rng)
    probabilities = (fresh @ weight.T + bias).softmax(1)
    assert float((probabilities - 0.5).abs().mean()) < 0.15


def test_perfect_separation_stays_finite():
    features = torch.tensor([[0.0, 1.0], [0.0, 1.1], [5.0, 0.0], [5.0, 0.1]])
    weight, bias = ridge_head(features, torch.tensor([0, 0, 1, 1]), 2)
    logits = features @ weight.T + bias
    assert logits.argmax(1).tolist() == [0, 0, 1, 1]
    assert float(logits.abs().max()) < 100


def test_the_dtype_is_that_of_the_features_and_absent_classes_are_allowed():
    features, labels = problem()
    weight, bias = ridge_head(features.float(), labels, 5)
    assert weight.dtype == bias.dtype == torch.float32
    assert weight.shape == (5, 6)
    assert weight.isfinite().all()
    predictions = (features.float() @ weight.T + bias).argmax(1)
    assert set(predictions.tolist()) <= {0, 1, 2}


def test_constant_features_give_a_finite_head():
    weight, bias = ridge_head(torch.ones(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]), 2)
    assert weight.isfinite().all()
    assert bias.isfinite().all()


def test_impossible_features_are_refused():
    with pytest.raises(InputError, match="not finite"):
        ridge_head(torch.tensor([[1.0], [float("nan")]]), torch.tensor([0, 1]), 2)
    with pytest.raises(InputError, match="at least two"):
        ridge_head(torch.ones(1, 3), torch.tensor([0]), 2)


def test_the_scale_minimises_the_cross_entropy():
    rng = np.random.default_rng(3)
    scores = torch.tensor(rng.normal(size=(40, 4)))
    labels = (scores + torch.tensor(rng.normal(size=(40, 4)))).argmax(1)
    found = calibrating_scale(scores, labels)
    smooth = 1 / 42
    target = np.eye(4)[labels.numpy()] * (1 - smooth) + smooth / 4

    def loss(scale):
        logits = scale[0] * scores.numpy()
        return -(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum()

    assert found == pytest.approx(minimize(loss, [1.0], tol=1e-12).x[0], rel=1e-4)


def test_scores_that_say_nothing_are_left_alone():
    assert calibrating_scale(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])) == 1.0


@pytest.fixture
def model():
    return build(Model(name="test_resnet"), weights="scratch", source_classes=None, classes=["a", "b", "c"])[0]


def test_zero_head_predicts_uniformly(model):
    initialise_head(model, "zero")
    features = torch.randn(4, model.num_features)
    assert torch.equal(model.head(features), torch.zeros(4, 3))


def test_default_leaves_the_head(model):
    before = model.head.weight.detach().clone()
    initialise_head(model, "default")
    assert torch.equal(model.head.weight, before)


def test_ridge_puts_its_head_into_the_model(model):
    features, labels = problem(60, model.num_features)
    initialise_head(model, "ridge", features.float(), labels)
    weight, bias = ridge_head(features.float(), labels, 3)
    assert torch.equal(model.head.weight, weight)
    assert torch.equal(model.head.bias, bias)
    assert model.head.weight.requires_grad
    with pytest.raises(ValueError, match="needs the features"):
        initialise_head(model, "ridge")


def test_the_published_number():
    features = torch.full((3, 580), 1.0)
    assert head_lr_limit(features, 0.9) == pytest.approx(3.8 / (581 / 2))


def test_below_the_limit_a_head_is_stable():
    """Two opposite classes on one axis: curvature is at its bound, so the limit is tight."""
    norm = 30.0
    features = torch.full((8, 1), norm**0.5, dtype=torch.float64)
    features[::2] *= -1
    labels = torch.arange(8) % 2
    limit = head_lr_limit(features, 0.9)

    def remaining(rate: float) -> float:
        weight = torch.tensor([[1e-3], [-1e-3]], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=rate, momentum=0.9)
        flip = 1 - labels  # a point near zero with as many labels either way: the minimum is at zero
        for _ in range(400):
            optimizer.zero_grad()
            logits = features @ weight.T
            loss = torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits, flip)
            (loss / 2).backward()
            optimizer.step()
        return float(weight.detach().abs().max())

    assert remaining(0.95 * limit) < 1e-5
    assert remaining(1.3 * limit) > 1e-2


@pytest.fixture
def source():
    """A head of four classes whose row i is i everywhere, with bias 10 i."""
    rows = torch.arange(4.0)
    return SourceHead(rows[:, None].repeat(1, 3), 10 * rows, ["ant", "bee", "cat", "dog"])


@pytest.mark.parametrize(
    ("classes", "every", "rows"),
    [
        (["cat", "ant"], [], [2, 0]),  # by name, whatever the order
        (["dog", "cat", "bee", "ant"], [], [3, 2, 1, 0]),
        (["w", "x", "y", "z"], [], [0, 1, 2, 3]),  # by place: as many as the source has
        (["ant", "bee", "cat", "eel"], [], [0, 1, 2, 3]),
        (["y", "w"], ["w", "x", "y", "z"], [2, 0]),  # by place in a labels file as long as the source
        (["cat", "ant"], ["cat", "dog", "ant", "bee"], [0, 2]),  # which says how the user counts
        (["cat", "ant"], ["cat", "ant"], [2, 0]),  # a shorter one says nothing
        (["cat", "dog"], ["w", "x", "y", "z"], [2, 3]),  # nor does one without these classes
    ],
)
def test_rows_of_the_source_head(source, classes, every, rows):
    head = rows_of(source, classes, every)
    assert head.classes == classes
    assert head.weight[:, 0].tolist() == rows and head.weight.shape == (len(rows), 3)
    assert head.bias.tolist() == [10 * row for row in rows]


def test_a_source_head_without_bias_gives_one_without(source):
    assert rows_of(SourceHead(source.weight, None, source.classes), ["bee"]).bias is None


@pytest.mark.parametrize(
    ("classes", "every", "missing"),
    [
        (["ant", "eel"], [], "eel.*1 of 2 target classes"),
        (["x"], ["w", "x", "y"], "x.*1 of 1"),
        ([*"vwxyz"], [], "v.*5 of 5"),
    ],
)
def test_rows_that_cannot_be_found(source, classes, every, missing):
    with pytest.raises(InputError, match=f'head_init: source: the source head has 4 classes, and "{missing}'):
        rows_of(source, classes, every)


@pytest.mark.real_data
def test_ridge_on_real_features(real_data):
    spec = Model(name="mobilenetv2_100", options={"pad_type": "same"}, preprocessing={"mean": [0.5], "std": [0.5]})
    weights = real_data / "weights" / "mobilenetv2_100_imagenet1k.safetensors"
    model, _ = build(spec, weights=weights, source_classes=None, classes=["ants", "bees"])
    preprocess = Preprocess(model.eval().preprocessing)

    def features(split: str, every: int) -> tuple[torch.Tensor, torch.Tensor]:
        found, labels = [], []
        for label, name in enumerate(model.classes):
            paths = sorted((real_data / "hymenoptera" / split / name).iterdir())[::every]
            with torch.no_grad():
                found.append(model(torch.stack([preprocess(Image.open(path)) for path in paths])).features)
            labels += [label] * len(paths)
        return torch.cat(found), torch.tensor(labels)

    initialise_head(model, "ridge", *features("train", 4))
    held_out, labels = features("val", 4)
    with torch.no_grad():
        logits = model.head(held_out)
    assert float((logits.argmax(1) == labels).double().mean()) >= 0.88
    assert float(torch.nn.functional.cross_entropy(logits, labels)) < 0.35

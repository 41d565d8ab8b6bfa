"""The Fisher information by closed form and brute force, and as a stage measures and keeps it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from transferkit_ewc import diagonal_fisher
from transferkit_ewc.measure import measured
from transferkit_ewc.penalty import EWC

from transferkit.errors import InputError
from transferkit.recipe.schema import Stage
from transferkit.testing.tiny import tiny_model, tiny_session


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small_net():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 4)
    )
    nn.init.uniform_(net[1].running_mean, -0.5, 0.5)
    nn.init.uniform_(net[1].running_var, 0.5, 1.5)
    return net.eval()


def forward_of(net):
    return lambda parameters, images: functional_call(net, dict(parameters), (images,))


def brute_force(net, images, weights):
    """One ordinary backward pass per image and class, squared and added up."""
    found = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in net.named_parameters()}
    for image, row in zip(images, weights, strict=True):
        for label, weight in enumerate(row):
            gradients = torch.autograd.grad(net(image[None]).log_softmax(1)[0, label], list(net.parameters()))
            for (name, _), gradient in zip(net.named_parameters(), gradients, strict=True):
                found[name] += float(weight) * gradient.double() ** 2 / len(images)
    return found


def assert_close(found, expected, rtol=1e-5):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.double(), rtol=rtol, atol=1e-10)


# --- the Fisher information ----------------------------------------------------------------------------------


def test_softmax_regression_in_closed_form():
    """∂ log p_y/∂W_kj = (1[y = k] − p_k) x_j, so that E_y of its square is p_k (1 − p_k) x_j²."""
    x = torch.randn(9, 5, dtype=torch.float64, generator=generator(1))
    w = torch.randn(3, 5, dtype=torch.float64, generator=generator(2))
    p = (x @ w.T).softmax(1)
    found = diagonal_fisher(lambda parameters, images: images @ parameters["w"].T, {"w": w}, x)
    torch.testing.assert_close(found["w"], torch.einsum("nk,nj->kj", p * (1 - p), x**2) / 9)
    labels = torch.arange(9) % 3
    residual = torch.nn.functional.one_hot(labels, 3) - p
    empirical = diagonal_fisher(lambda parameters, images: images @ parameters["w"].T, {"w": w}, x, labels)
    torch.testing.assert_close(empirical["w"], torch.einsum("nk,nj->kj", residual**2, x**2) / 9)


def test_exact_and_empirical_match_one_backward_pass_each():
    net, images = small_net(), torch.randn(5, 2, 4, 4, generator=generator(3))
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        p = net(images).softmax(1)
    assert_close(diagonal_fisher(forward_of(net), parameters, images), brute_force(net, images, p))
    labels = torch.tensor([0, 3, 2, 1, 1])
    one_hot = torch.nn.functional.one_hot(labels, 4)
    empirical = diagonal_fisher(forward_of(net), parameters, images, labels)
    assert_close(empirical, brute_force(net, images, one_hot))
    assert all(bool(tensor.any()) for tensor in empirical.values())


def test_it_is_not_the_square_of_the_mean_gradient():
    net, images = small_net(), torch.randn(6, 2, 4, 4, generator=generator(3))
    labels = torch.tensor([0, 3, 2, 1, 1, 0])
    loss = torch.nn.functional.cross_entropy(net(images), labels)
    of_mean = torch.autograd.grad(loss, net[5].weight)[0].square()
    found = diagonal_fisher(forward_of(net), dict(net.named_parameters()), images, labels)["5.weight"]
    assert float(found.mean()) > 1.5 * float(of_mean.mean())


def test_the_mean_does_not_depend_on_how_images_are_batched():
    net, images = small_net(), torch.randn(6, 2, 4, 4, generator=generator(3))
    parameters = dict(net.named_parameters())
    whole = diagonal_fisher(forward_of(net), parameters, images)
    halves = [diagonal_fisher(forward_of(net), parameters, part) for part in images.split(3)]
    assert_close({name: (halves[0][name] + halves[1][name]) / 2 for name in whole}, whole)


@pytest.mark.parametrize("labels", [None, torch.tensor([1, 0, 3])])
def test_a_model_that_cannot_be_vectorised_gets_single_backward_passes(labels):
    net, images = small_net(), torch.randn(3, 2, 4, 4, generator=generator(4))

    def stubborn(parameters, images):
        assert float(images.sum()) < 1e9  # reads a value, which vmap cannot
        return functional_call(net, dict(parameters), (images,))

    parameters = dict(net.named_parameters()) | {"unused": torch.ones(2)}
    found = diagonal_fisher(stubborn, parameters, images, labels)
    assert not found.pop("unused").any()
    assert_close(found, diagonal_fisher(forward_of(net), dict(net.named_parameters()), images, labels))


def test_refusals():
    def linear(parameters, images):
        return images @ parameters["w"].T

    w = {"w": torch.ones(3, 2)}
    with pytest.raises(ValueError, match="no image"):
        diagonal_fisher(linear, w, torch.ones(0, 2))
    with pytest.raises(ValueError, match=r"\(2,\) labels for 1 images"):
        diagonal_fisher(linear, w, torch.ones(1, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="outside the model's classes 0 to 2"):
        diagonal_fisher(linear, w, torch.ones(1, 2), torch.tensor([3]))
    with pytest.raises(ValueError, match=r"shape \(n, K\), not \(1, 3, 1\)"):
        diagonal_fisher(lambda p, x: linear(p, x)[..., None], w, torch.ones(1, 2))


# --- measured in a session -----------------------------------------------------------------------------------


class Images:
    """Twelve images of noise whose labels are those of three of the tiny source head's classes, in another order."""

    def __init__(self, classes, seed=0):
        self.classes = list(classes)
        self.images = torch.randn(12, 3, 32, 32, generator=generator(seed))
        self.labels = np.arange(12) % len(self.classes)
        self.passes = 0

    def __len__(self):
        return len(self.images)

    def fingerprint(self):
        return f"noise {len(self)}"

    def subset(self, indices):
        part = copy.copy(self)
        part.images, part.labels = self.images[indices], self.labels[indices]
        self.last = part
        return part

    def evaluation_batches(self, batch_size, device="cpu"):
        self.passes += 1
        for start in range(0, len(self), 5):
            part = slice(start, start + 5)
            yield self.images[part], torch.tensor(self.labels[part])


@pytest.fixture
def session(tmp_path):
    session = tiny_session(tmp_path, model=tiny_model(seed=2))
    session.images = Images(["ring", "cross", "waves"])
    session.open_samples = lambda name, split: session.images
    return session


def by_hand(session, images, label_rows):
    net = copy.deepcopy(session.reference).requires_grad_(True)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net.net

        def forward(self, x):
            return net(x).logits

    found = brute_force(Whole().eval(), images, label_rows)
    return {name.removeprefix("net."): value for name, value in found.items()}


def test_measured_on_the_source_s_images_with_its_labels_by_name(session):
    found = measured(session, EWC(dataset="shapes", fisher="empirical", head=True))
    part = session.images.last
    assert len(part) == 12
    of = [session.reference.classes.index(session.images.classes[label]) for label in part.labels]
    rows = torch.nn.functional.one_hot(torch.tensor(of), 12)
    expected = by_hand(session, part.images, rows)
    assert_close({name: tensor.double() for name, tensor in found.items()}, expected, rtol=2e-4)
    assert set(found) == {name for name, _ in session.reference.net.named_parameters()}


def test_exact_and_the_backbone_alone(session):
    found = measured(session, EWC(dataset="shapes", fisher="exact", images=4))
    part = session.images.last
    assert len(part) == 4
    with torch.no_grad():
        p = session.reference(part.images).logits.softmax(1)
    expected = by_hand(session, part.images, p)
    names = {name for name, _ in session.reference.named_backbone_parameters()}
    assert set(found) == names and "fc.weight" not in names
    assert_close({n: t.double() for n, t in found.items()}, {n: expected[n] for n in names}, rtol=2e-4)


def test_sampled_labels_have_the_model_s_own_frequencies(session):
    from transferkit_ewc.measure import _drawn

    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5]]).repeat(20_000, 1)
    draws = torch.from_numpy(np.random.default_rng(0).random(20_000))
    share = torch.bincount(_drawn(logits, draws), minlength=4) / 20_000
    torch.testing.assert_close(share, logits[0].softmax(0), atol=0.012, rtol=0)
    edges = _drawn(
        torch.tensor([[-1e9, 0.0, -1e9]]).repeat(3, 1), torch.from_numpy(np.array([0.0, 0.5, np.nextafter(1.0, 0.0)]))
    )
    assert edges.tolist() == [1, 1, 1]
    sampled = measured(session, EWC(dataset="shapes"))
    exact = measured(session, EWC(dataset="shapes", fisher="exact"))
    ratio = sum(float(t.sum()) for t in sampled.values()) / sum(float(t.sum()) for t in exact.values())
    assert 0.3 < ratio < 3


def test_measured_once_and_again_when_something_changes(session):
    first = measured(session, EWC(dataset="shapes"))
    passes = session.images.last.passes
    (file,) = (session.cache / "results").glob("*.safetensors")
    again = measured(session, EWC(dataset="shapes"))
    assert session.images.last.passes == 0 and passes == 1
    assert all(torch.equal(first[name], again[name]) for name in first)
    measured(session, EWC(dataset="shapes", fisher="exact"))
    with torch.no_grad():
        session.reference.net.conv1[0].weight.mul_(2)
    measured(session, EWC(dataset="shapes"))
    assert len(list((session.cache / "results").glob("*"))) == 3
    file.write_bytes(b"not safetensors")
    with torch.no_grad():
        session.reference.net.conv1[0].weight.div_(2)
    back = measured(session, EWC(dataset="shapes"))
    assert all(torch.equal(first[name], back[name]) for name in first)
    assert "cannot be read" in session.warnings[0]


def test_labels_that_are_none_of_the_source_s_classes_are_refused(session):
    session.images = Images(["ring", "zebra", "waves"])
    with pytest.raises(InputError, match=r'1 classes of the data set, "zebra" among them'):
        measured(session, EWC(dataset="shapes", fisher="empirical"))
    measured(session, EWC(dataset="shapes"))  # the model's own labels need no names


def test_what_cannot_be_measured_is_said(session):
    with torch.no_grad():
        session.reference.head.weight.zero_()
    measured(session, EWC(dataset="shapes"))
    assert "importance of every weight is zero" in session.warnings[0]
    with torch.no_grad():
        session.reference.head.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="is not finite"):
        measured(session, EWC(dataset="shapes"))
    session.reference = None
    with pytest.raises(InputError, match="starts from scratch"):
        measured(session, EWC())


def test_many_classes_are_warned_about(session, monkeypatch):
    monkeypatch.setattr("transferkit_ewc.measure.MANY_CLASSES", 11)
    measured(session, EWC(dataset="shapes", fisher="exact", images=1))
    assert "takes 12 backward passes for each of 1 images" in session.warnings[0]


@pytest.mark.parametrize(
    ("weight", "optimizer", "warned"),
    [
        (1.0, "momentum", False),
        (1e9, "momentum", True),
        (1e9, "adamw", False),
        ({"from": 0.0, "to": 1e9, "over": 2}, "sgd", True),
    ],
)
def test_a_weight_at_which_sgd_is_unstable_is_warned_about(session, weight, optimizer, warned):
    uses = [{"use": "l2_sp", "weight": 1e12}, {"use": "ewc", "weight": weight}]
    stage = {"name": "tiny", "start": "a", "dataset": "b", "epochs": 1, "regularizers": uses}
    session.stage = Stage.model_validate(stage | {"optimizer": {"name": optimizer, "lr": 0.1}})
    found = measured(session, EWC(dataset="shapes"))
    assert len(session.warnings) == warned
    if warned:
        largest = max(float(tensor.max()) for tensor in found.values())
        assert f"below a learning rate of {2 * 1.9 / (1e9 * largest):.3g}" in session.warnings[0]


def test_that_limit_is_where_heavy_ball_descent_on_the_penalty_diverges():
    importance, weight, momentum = 0.3, 50.0, 0.9
    for factor, grows in ((0.95, False), (1.05, True)):
        lr = factor * 2 * (1 + momentum) / (weight * importance)
        w = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=lr, momentum=momentum)
        for _ in range(100):
            w.grad = weight * importance * w.detach()
            optimizer.step()
        assert (abs(w.item()) > 1) == grows

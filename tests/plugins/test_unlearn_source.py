"""Unlearning: the sets of appendix B by hand, what a session finds, the penalties' values and gradients."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_unlearn_source import active_features, source_features, source_probability
from transferkit_unlearn_source.find import found
from transferkit_unlearn_source.penalty import UnlearnSource

from tests.plugins.two_stage_runs import recipe, records, resumes_exactly, run
from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

# four features, two cats that have features 1 and 2, a dog that has 2
CATS_AND_DOG = torch.tensor([[0.0, 2.0, 3.0, 0.0], [0.5, 2.0, 1.5, 0.0], [0.0, 0.0, 4.0, 0.0]])


def test_the_features_of_a_class_are_on_in_all_its_images():
    labels = torch.tensor([0, 0, 2])
    expected = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
    assert torch.equal(active_features(CATS_AND_DOG, labels, 3, 1.0), expected)
    assert not active_features(CATS_AND_DOG, labels, 3, 4.0).any()  # strictly above
    below = active_features(CATS_AND_DOG, labels, 3, -1.0)
    assert below[0].all() and not below[1].any()  # nothing is known of a class without images


def test_only_source_features_are_left():
    source = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0]], dtype=torch.bool)
    target = torch.tensor([[0, 1, 1, 0]], dtype=torch.bool)
    assert source_features(source, target).tolist() == [0, 3]
    assert source_features(source, torch.ones(1, 4, dtype=torch.bool)).tolist() == []
    assert source_features(source[:0], target).tolist() == []


def test_probability_by_hand():
    logits = torch.tensor([[2.0, 2.0, 1.0, 1.0]]).log()
    torch.testing.assert_close(source_probability(logits, [1, 3]), torch.tensor([0.5]))
    torch.testing.assert_close(source_probability(logits, torch.tensor([0, 1, 2, 3])), torch.tensor([1.0]))
    assert source_probability(logits, []).tolist() == [0.0]
    assert source_probability(logits.bfloat16(), [1]).dtype == torch.float32


def test_its_gradient_by_hand():
    """∂ Σ_S p/∂z_c = p_c (1[c in S] − P_S)."""
    logits = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    source_probability(logits, [0, 3]).sum().backward()
    p = logits.detach().softmax(1)
    inside = torch.tensor([1.0, 0, 0, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(logits.grad, p * (inside - (p @ inside)[:, None]))
    assert torch.autograd.gradcheck(lambda z: source_probability(z, [1, 2]), (logits,))


def test_refusals():
    with pytest.raises(ValueError, match=r"features \(n, d\) and labels \(n,\)"):
        active_features(CATS_AND_DOG, torch.tensor([0]), 1, 0.0)
    with pytest.raises(ValueError, match="NaN"):
        active_features(torch.full((1, 2), float("nan")), torch.tensor([0]), 1, 0.0)


# --- what a session finds ------------------------------------------------------------------------------------


class Images:
    """Images that are their own features."""

    def __init__(self, features, labels, classes):
        self.features, self.labels, self.classes = features, np.asarray(labels), list(classes)

    def __len__(self):
        return len(self.features)

    def subset(self, indices):
        part = copy.copy(self)
        part.features, part.labels = self.features[indices], self.labels[indices]
        return part

    def evaluation_batches(self, batch_size, device="cpu"):
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.features[part], torch.tensor(self.labels[part])


class Reference(torch.nn.Module):
    """Zebra sees features 0 and 3, grass 1, mouse 2: the source head's classes."""

    classes = ("zebra", "grass", "mouse")
    num_features = 4

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]))

    def forward(self, images):
        return SimpleNamespace(features=images)

    def head(self, features):
        return SourceHead(self.weight, None, list(self.classes)).logits(features)


ZEBRAS = torch.tensor([[5.0, 3.0, 0.0, 2.0], [4.0, 3.0, 1.0, 0.5]])


@pytest.fixture
def session():
    from contextlib import nullcontext

    warnings: list[str] = []
    source = Images(torch.cat([ZEBRAS, torch.rand(3, 4)]), [1, 1, 0, 0, 2], ["mouse", "zebra", "grass"])
    return SimpleNamespace(
        reference=Reference(),
        classes=["cat", "dog"],
        seed=0,
        device="cpu",
        stage=SimpleNamespace(batch_size=2),
        train_samples=Images(CATS_AND_DOG, [0, 0, 1], ["cat", "dog"]),
        open_samples=lambda name, split: source,
        progress=lambda total, text: nullcontext(SimpleNamespace(advance=lambda count=1: None)),
        warn=warnings.append,
        warnings=warnings,
    )


def test_source_only_classes_are_those_no_target_image_shows(session):
    # best classes: mouse, grass, mouse; second best: grass, mouse, zebra (0 beats grass 0 by its lower id)
    assert found(session, UnlearnSource(k=1, v_lo=0)) == ([0], [])
    assert found(session, UnlearnSource(k=1, v_lo=1)) == ([0, 1], [])
    assert found(session, UnlearnSource(k=1, v_lo=0.34)) == ([0, 1], [])  # 0.34 of three images
    assert found(session, UnlearnSource(k=2, v_lo=1)) == ([0], [])
    assert session.warnings == []
    assert found(session, UnlearnSource(k=2, v_lo=0)) == ([], [])
    assert "every source class is among the 2 best" in session.warnings[0]


def test_features_only_zebras_have(session):
    # above 1: zebras have 0 and 1, cats 1 and 2, dogs 2; above 0.4 zebras have 3 as well
    options = UnlearnSource(form="features", k=1, v_lo=0, dataset="animals", threshold=1.0)
    assert found(session, options) == ([0], [0])
    assert found(session, UnlearnSource(**(vars_of(options) | {"threshold": 0.4}))) == ([0], [0, 3])
    mean = float(CATS_AND_DOG.mean())
    assert 0.5 < mean < 2 and found(session, UnlearnSource(**(vars_of(options) | {"threshold": None}))) == ([0], [0])
    assert found(session, UnlearnSource(**(vars_of(options) | {"threshold": 9.0}))) == ([0], [])
    assert "no feature is above 9 on all images" in session.warnings[-1]


def vars_of(options):
    return {name: value for name, value in vars(options).items() if not name.startswith("_")}


def test_what_does_not_fit_is_refused(session):
    session.open_samples = lambda name, split: Images(ZEBRAS, [0, 0], ["whale"])
    with pytest.raises(InputError, match='"animals" has none of the 1 source-only classes'):
        found(session, UnlearnSource(form="features", k=1, v_lo=0, dataset="animals"))
    session.reference = None
    with pytest.raises(InputError, match="no source to unlearn"):
        found(session, UnlearnSource())


# --- the penalties -------------------------------------------------------------------------------------------


def ready(session, **options):
    plugin = UnlearnSource(k=1, v_lo=0, **options)
    plugin.setup(session)
    return plugin


def test_the_probability_form(session):
    plugin = ready(session)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    value = plugin.penalty(features, session.reference)
    logits = features.detach() @ session.reference.weight.detach().T
    assert value.item() == pytest.approx(float(logits.softmax(1)[:, 0].mean()), rel=1e-6)
    value.backward()
    p = logits.softmax(1)
    slope = p * (torch.tensor([1.0, 0, 0]) - p[:, :1]) / 6
    torch.testing.assert_close(features.grad, slope @ session.reference.weight.detach())
    assert plugin.epoch_end() == {"source_only_classes": 1.0}


def test_the_feature_form(session):
    plugin = ready(session, form="features", dataset="animals", threshold=0.4)
    features = torch.tensor([[1.0, 9, 9, -2], [3.0, 9, 9, 0]], requires_grad=True)
    value = plugin.penalty(features, session.reference)
    assert value.item() == pytest.approx((1 + 2 + 3 + 0) / 4)
    value.backward()
    assert features.grad.tolist() == [[0.25, 0, 0, -0.25], [0.25, 0, 0, 0]]
    assert plugin.epoch_end() == {"source_only_classes": 1.0, "source_only_features": 2.0}


@pytest.mark.parametrize("options", [{"k": 3}, {"form": "features", "dataset": "animals", "threshold": 9.0}])
def test_nothing_to_unlearn_is_zero_in_the_graph(session, options):
    plugin = UnlearnSource(**({"k": 1, "v_lo": 0} | options))
    plugin.setup(session)
    features = torch.ones(2, 4, requires_grad=True)
    plugin.penalty(features, session.reference).backward()
    assert features.grad.abs().sum() == 0 and session.warnings


def test_state_goes_on_with_the_same_choice(session):
    plugin = ready(session, form="features", dataset="animals", threshold=0.4)
    other = UnlearnSource(form="features", k=1, v_lo=0, dataset="animals")
    other.load_state_dict(plugin.state_dict())
    assert other.state_dict() == {"classes": [0], "features": [0, 3]}
    features = torch.rand(2, 4)
    assert torch.equal(other.penalty(features, Reference()), plugin.penalty(features, Reference()))


# --- options and whole runs ----------------------------------------------------------------------------------


def test_options():
    component = installed().get("regularizer", "unlearn_source")
    assert component.create({"k": 3}).k == 3
    for wrong in ({"k": 0}, {"v_lo": -1}, {"form": "projection"}, {"images": 0}):
        with pytest.raises(ValidationError):
            component.create(wrong)
    assert "name their data set in `dataset`" in UnlearnSource(form="features").check(None)[0]
    assert UnlearnSource().check(None) == []


def test_the_promises_of_a_plugin():
    check_plugin(UnlearnSource, k=1)


WHOLE = {"use": "unlearn_source", "k": 1, "v_lo": 0.3}


def test_it_lowers_what_the_source_head_sees_and_resumes_exactly(tmp_path, monkeypatch):
    done = resumes_exactly(tmp_path, monkeypatch, regularizers=[WHOLE | {"weight": 30.0}])
    first, last = records(done.whole.run_dir)
    assert 0 < last["terms"]["unlearn_source"]["raw"] < 0.9 * first["terms"]["unlearn_source"]["raw"]
    assert last["plugins"]["unlearn_source"]["source_only_classes"] > 0


def test_the_feature_form_in_a_run(tmp_path):
    options = {"form": "features", "dataset": "digits", "images": 3, "weight": 1.0}
    result = run(tmp_path, recipe(regularizers=[WHOLE | options, {"use": "activation_l1", "weight": 0.1}]))
    terms = records(result.run_dir)[-1]["terms"]
    assert set(terms) == {"unlearn_source", "activation_l1"}

"""One graph for the answer and the score: values by hand, devices' and exporters' needs, what does not fit."""

from __future__ import annotations

import pytest
import torch
from transferkit_interference import interference_score

from transferkit.deploy.guarded import Guarded
from transferkit.errors import InputError
from transferkit.model import Preprocessing, SourceHead
from transferkit.testing import tiny_images, tiny_model
from transferkit.testing.detector import LINGERING, SOURCE_CLASSES, tiny_detector_head


@pytest.fixture(scope="module")
def model():
    return tiny_model().eval()


@pytest.fixture(scope="module")
def head(model):
    return tiny_detector_head(model.num_features)


@pytest.mark.parametrize("reduction", ["sum", "max"])
def test_values(model, head, reduction):
    images = tiny_images(6)
    guarded = Guarded(model, head, LINGERING, reduction)
    with torch.no_grad():
        logits, score, source_class = guarded(images)
        output = model(images)
    assert torch.equal(logits, output.logits) and source_class.dtype == torch.int64
    source_logits = head.logits(output.features)
    probabilities = source_logits.double().softmax(dim=1)[:, list(LINGERING)]
    expected = probabilities.sum(dim=1) if reduction == "sum" else probabilities.amax(dim=1)
    assert torch.allclose(score.double(), expected, atol=1e-6, rtol=0)
    assert [LINGERING[i] for i in probabilities.argmax(dim=1).tolist()] == source_class.tolist()
    plugin = interference_score(source_logits, torch.tensor(LINGERING), reduction)
    assert torch.allclose(score, plugin, atol=1e-6, rtol=0)


def test_the_order_of_the_classes_does_not_matter(model, head):
    one, two = (Guarded(model, head, indices)(tiny_images(5)) for indices in ([0, 2, 4], [4, 0, 2]))
    assert torch.allclose(one.score, two.score) and torch.equal(one.source_class, two.source_class)


def test_all_classes_sum_to_one(model, head):
    _, score, source_class = Guarded(model, head, range(len(SOURCE_CLASSES)))(tiny_images(3))
    assert torch.allclose(score, torch.ones(3)) and bool((score <= 1).all())
    with torch.no_grad():
        assert torch.equal(source_class, head.logits(model(tiny_images(3)).features).argmax(dim=1))


def test_probabilities_that_underflow_still_have_a_strongest_class(model):
    weight = torch.zeros(4, model.num_features)
    hopeless = SourceHead(weight, torch.tensor([0.0, -300.0, -200.0, -250.0]), list("abcd"))
    _, score, source_class = Guarded(model, hopeless, [1, 2, 3])(tiny_images(2))
    assert score.tolist() == [0, 0] and source_class.tolist() == [2, 2]


def test_a_separate_source_model(model):
    source = tiny_model(SOURCE_CLASSES, seed=3).eval()
    guarded = Guarded(model, None, LINGERING, "sum", source)
    images = tiny_images(4)
    with torch.no_grad():
        expected = source(images).logits.softmax(dim=1)[:, list(LINGERING)].sum(dim=1)
        logits, score, _ = guarded(images)
        assert torch.equal(logits, model(images).logits) and torch.allclose(score, expected)


def test_a_separate_source_model_with_another_normalisation(model):
    source = tiny_model(SOURCE_CLASSES, seed=3).eval()
    source.preprocessing = Preprocessing((32, 32), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 1.0, "center", "bilinear")
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, theirs = ((pixels - mean) / std for mean, std in (both(model), both(source)))
    with torch.no_grad():
        expected = source(theirs).logits.softmax(dim=1)[:, list(LINGERING)].sum(dim=1)
        score = Guarded(model, None, LINGERING, "sum", source)(ours).score
    assert torch.allclose(score, expected, atol=1e-6)
    source.preprocessing = Preprocessing((48, 48), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")
    with pytest.raises(InputError, match=r"its input_size is \(48, 48\)"):
        Guarded(model, None, LINGERING, "sum", source)


def both(model):
    p = model.preprocessing
    return torch.tensor(p.mean).view(1, 3, 1, 1), torch.tensor(p.std).view(1, 3, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtype_follows_the_model(head, dtype):
    model = tiny_model().eval()
    before = Guarded(model, head, LINGERING)(tiny_images(3)).score
    guarded = Guarded(model.to(dtype), head, LINGERING)
    logits, score, _ = guarded(tiny_images(3).to(dtype))
    assert guarded.head.weight.dtype == logits.dtype == dtype
    assert score.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(score.float(), before, atol=0.05)


def test_a_copy_of_the_head_and_no_gradients(model, head):
    guarded = Guarded(model, head, LINGERING)
    assert not any(parameter.requires_grad for parameter in guarded.parameters()) and not guarded.training
    assert guarded.head.weight.data_ptr() != head.weight.data_ptr()
    state = torch.get_rng_state()
    Guarded(model, head, LINGERING)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("indices", [[], [5], [-1], [1, 1]])
def test_wrong_indices(model, head, indices):
    with pytest.raises(InputError, match="must be different indices below 5, at least one"):
        Guarded(model, head, indices)


def test_what_does_not_fit(model, head):
    with pytest.raises(InputError, match="features does not fit a model with"):
        Guarded(model, tiny_detector_head(model.num_features + 1), LINGERING)
    with pytest.raises(InputError, match="needs a head"):
        Guarded(model, None, LINGERING)
    with pytest.raises(InputError, match='"sum" or "max"'):
        Guarded(model, head, LINGERING, "mean")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_exports_with_a_dynamic_batch(name):
    model = tiny_model(name=name, **({"img_size": 32} if name == "test_vit" else {})).eval()
    guarded = Guarded(model, tiny_detector_head(model.num_features), LINGERING)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(guarded, (tiny_images(2),), dynamic_shapes=({0: batch},)).module()
    for n in (1, 2, 3, 8):
        for ours, exported in zip(guarded(tiny_images(n)), program(tiny_images(n)), strict=True):
            assert torch.equal(ours, exported)

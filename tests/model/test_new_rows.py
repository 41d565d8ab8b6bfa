"""Rows for classes that the source head did not know, against values by hand and in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.model.head_init import ridge_head
from transferkit.model.new_rows import grown_head, imprinted, known_rows


@pytest.fixture
def source():
    """Three classes in two dimensions; norms 5, 10 and 15, biases 1, 2 and 6."""
    weight = torch.tensor([[3.0, 4.0], [6.0, 8.0], [9.0, 12.0]])
    return SourceHead(weight, torch.tensor([1.0, 2.0, 6.0]), ["ant", "bee", "cat"])


def drawn(*classes: str, bias: bool = True) -> SourceHead:
    rows = torch.arange(float(len(classes)))
    return SourceHead(-rows[:, None].repeat(1, 2), -rows if bias else None, list(classes))


@pytest.mark.parametrize(
    ("classes", "known", "rows"),
    [
        (["ant", "bee", "cat", "dog"], ["ant", "bee", "cat"], [0, 1, 2, None]),
        (["dog", "cat"], [], [None, 2]),  # by name, whatever the order and whatever is left out
        (["x", "y", "z", "dog"], ["x", "y", "z"], [0, 1, 2, None]),  # by place in as many known ones
        (["cat", "bee", "ant", "dog"], ["cat", "bee", "ant"], [2, 1, 0, None]),  # names win over places
        (["ant", "y", "z", "dog"], ["ant", "y", "z"], [0, None, None, None]),  # as soon as there is one
    ],
)
def test_which_row_is_whose(source, classes, known, rows):
    assert known_rows(source, classes, known) == rows


@pytest.mark.parametrize(("classes", "known"), [(["x", "y"], []), (["x", "y", "z"], ["x", "y"])])
def test_where_nothing_is_known(source, classes, known):
    with pytest.raises(InputError, match='the source head has 3 classes, and "x" is none of them'):
        known_rows(source, classes, known)


def test_default_keeps_what_was_drawn(source):
    head = grown_head(source, drawn("bee", "dog", "ant"), [1, None, 0], "default")
    assert head.classes == ["bee", "dog", "ant"]
    assert head.weight.tolist() == [[6, 8], [-1, -1], [3, 4]]
    assert head.bias.tolist() == [2, -1, 1]


def test_imprinting_by_hand(source):
    """Of the class dog (3, 4) and (0, 7): unit vectors (.6, .8) and (0, 1), mean (.3, .9), scaled to 7.5 = (5+10)/2."""
    features = torch.tensor([[3.0, 4.0], [100.0, 0.0], [0.0, 7.0]])
    head = grown_head(source, drawn("ant", "bee", "dog"), [0, 1, None], "imprint", features, torch.tensor([2, 0, 2]))
    size = 7.5 / (0.3**2 + 0.9**2) ** 0.5
    assert head.weight.numpy() == pytest.approx(np.array([[3, 4], [6, 8], [0.3 * size, 0.9 * size]]))
    assert head.bias.tolist() == [1, 2, 1.5]
    assert head.weight.dtype == torch.float32


def test_imprinting_against_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 7)), np.arange(40) % 4
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = imprinted(torch.tensor(x), torch.tensor(y), [3, 1]).numpy()
    assert np.allclose(found, [unit[y == 3].mean(0), unit[y == 1].mean(0)], atol=1e-12)
    scaled = imprinted(torch.tensor(x * rng.uniform(1, 9, (40, 1))), torch.tensor(y), [3, 1]).numpy()
    assert np.allclose(found, scaled, atol=1e-12)  # how long a feature vector is does not count


def test_ridge_rows_are_those_of_the_shown_classes_at_the_size_of_the_old(source):
    rng = np.random.default_rng(1)
    y = np.repeat([1, 3, 4], 10)
    x = torch.tensor(rng.normal(size=(30, 2)) + 3.0 * np.eye(5)[y][:, 1:5] @ rng.normal(size=(4, 2)))
    weight, bias = ridge_head(x, torch.tensor(np.repeat([0, 1, 2], 10)), 3)
    rows = [0, 2, 1, None, None]
    head = grown_head(source, drawn("ant", "cat", "bee", "dog", "eel"), rows, "ridge", x, torch.tensor(y))
    factor = 10 / weight.norm(dim=1)
    assert torch.allclose(head.weight[3:].double(), (weight * factor[:, None])[1:], atol=1e-5)
    assert torch.allclose(head.bias[3:].double(), (bias * factor)[1:], atol=1e-5)
    assert head.weight[:3].tolist() == [[3, 4], [9, 12], [6, 8]] and head.bias[:3].tolist() == [1, 6, 2]
    # scaling a row and its bias together leaves where it says yes and no
    one = (x @ weight[1] + bias[1]) > 0
    assert torch.equal((x.float() @ head.weight[3] + head.bias[3]) > 0, one)


@pytest.mark.parametrize("how", ["imprint", "ridge"])
def test_a_head_without_bias_grows_without(source, how):
    bare = SourceHead(source.weight, None, source.classes)
    features, labels = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 4)
    assert grown_head(bare, drawn("ant", "dog", bias=False), [0, None], how, features, labels).bias is None


def test_features_of_nothing_give_a_row_of_zeros(source):
    head = grown_head(source, drawn("ant", "dog"), [0, None], "imprint", torch.zeros(2, 2), torch.tensor([1, 1]))
    assert head.weight[1].tolist() == [0, 0]


def test_what_cannot_be(source):
    features, labels = torch.ones(2, 2), torch.tensor([1, 1])
    with pytest.raises(InputError, match=r"imprint needs training images of every new class.*none of eel"):
        grown_head(source, drawn("ant", "dog", "eel"), [0, None, None], "imprint", features, labels)
    with pytest.raises(InputError, match="ridge needs training images of two classes or more"):
        grown_head(source, drawn("ant", "dog"), [0, None], "ridge", features, labels)
    with pytest.raises(ValueError, match="needs the features"):
        grown_head(source, drawn("ant", "dog"), [0, None], "ridge")

"""From cached features to logits, votes and probabilities of any head, against plain torch."""

from __future__ import annotations

import pytest
import torch

from transferkit.analysis.predictions import Predictions, top_classes
from transferkit.model import SourceHead


@pytest.fixture
def made() -> Predictions:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(11, 5, generator=generator)
    head = SourceHead(torch.randn(4, 5, generator=generator), torch.randn(4, generator=generator), list("abcd"))
    return Predictions(features, torch.arange(11) % 4, [str(i) for i in range(11)], list("abcd"), head)


def test_logits_in_pieces_are_the_logits(made):
    whole = made.features @ made.head.weight.T + made.head.bias
    torch.testing.assert_close(made.logits(), whole)
    parts = list(made.chunks(size=3))
    assert [(part.start, len(logits)) for part, logits in parts] == [(0, 3), (3, 3), (6, 3), (9, 2)]
    torch.testing.assert_close(torch.cat([logits for _, logits in parts]), whole)


def test_another_head_on_the_same_features(made):
    head = SourceHead(torch.eye(5), None, list("vwxyz"))
    assert torch.equal(made.logits(head), made.features)
    assert torch.equal(made.predicted(head), made.features.argmax(dim=1))


def test_the_probability_at_the_label_is_the_softmax(made):
    expected = made.logits().double().softmax(dim=1)[torch.arange(11), made.labels]
    torch.testing.assert_close(made.label_probability(), expected)


def test_ties_go_to_the_lower_class():
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert top_classes(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    assert top_classes(scores, 99).tolist() == [[1, 2, 3, 4, 0], [0, 1, 2, 3, 4]]


def test_no_images(made):
    empty = Predictions(torch.empty(0, 5), torch.empty(0, dtype=torch.int64), [], list("abcd"), made.head)
    assert empty.logits().shape == (0, 4)
    assert empty.predicted().shape == empty.label_probability().shape == (0,)
    assert empty.top(2).shape == (0, 2)

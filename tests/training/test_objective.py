from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax

from transferkit.errors import InputError
from transferkit.recipe import schema
from transferkit.recipe.uses import RegularizerUse
from transferkit.training.objective import Objective, check_terms, task_loss, weight_of

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2, 1, 1])


def test_cross_entropy_against_scipy() -> None:
    expected = -log_softmax(LOGITS.numpy(), axis=1)[np.arange(4), LABELS.numpy()]
    np.testing.assert_allclose(task_loss(schema.Loss())(LOGITS, LABELS), expected, rtol=1e-6)


def test_label_smoothing_by_hand() -> None:
    log_p = log_softmax(LOGITS.numpy(), axis=1)
    expected = -(0.9 * log_p[np.arange(4), LABELS.numpy()] + 0.1 * log_p.mean(axis=1))
    np.testing.assert_allclose(task_loss(schema.Loss(label_smoothing=0.1))(LOGITS, LABELS), expected, rtol=1e-6)


def test_soft_labels_are_a_mixture_of_hard_ones() -> None:
    loss = task_loss(schema.Loss())
    soft = 0.3 * F.one_hot(LABELS, 3) + 0.7 * F.one_hot(torch.tensor([1, 1, 2, 0]), 3)
    expected = 0.3 * loss(LOGITS, LABELS) + 0.7 * loss(LOGITS, torch.tensor([1, 1, 2, 0]))
    torch.testing.assert_close(loss(LOGITS, soft), expected)


def test_class_weights_and_prior() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5])
    plain = task_loss(schema.Loss())(LOGITS, LABELS)
    torch.testing.assert_close(task_loss(schema.Loss(), class_weights=weights)(LOGITS, LABELS), plain * weights[LABELS])
    prior = torch.tensor([0.7, 0.2, 0.1]).log()
    adjusted = task_loss(schema.Loss(), log_prior=prior)(LOGITS, LABELS)
    torch.testing.assert_close(adjusted, task_loss(schema.Loss())(LOGITS + prior, LABELS))


def test_bce_is_the_mean_of_binary_losses() -> None:
    p = 1 / (1 + np.exp(-LOGITS.numpy().astype(np.float64)))
    y = np.eye(3)[LABELS.numpy()]
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=1)
    np.testing.assert_allclose(task_loss(schema.Loss(name="bce"))(LOGITS, LABELS), expected, rtol=1e-5)


class Out:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


def test_micro_batches_add_up_to_the_mean_over_the_step() -> None:
    objective = Objective(task_loss(schema.Loss()), [])

    def total(parts: list[slice]) -> float:
        found = 0.0
        for part in parts:
            losses = objective(
                {"target": Out(LOGITS[part])},
                {"target": LABELS[part]},
                lambda stream: None,
                step_total=4,
                batch_total=len(LABELS[part]),
                epoch=0.0,
            )
            found += float(losses.total)
        return found

    assert total([slice(0, 3), slice(3, 4)]) == pytest.approx(total([slice(0, 4)]), rel=1e-6)
    assert total([slice(0, 4)]) == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)), rel=1e-6)


def test_streams_are_weighted_by_their_images() -> None:
    objective = Objective(task_loss(schema.Loss()), [])
    losses = objective(
        {"target": Out(LOGITS[:1]), "source": Out(LOGITS[1:])},
        {"target": LABELS[:1], "source": LABELS[1:]},
        lambda stream: None,
        step_total=4,
        batch_total=4,
        epoch=0.0,
    )
    assert float(losses.total) == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)), rel=1e-6)


def test_a_number_holds_for_every_term() -> None:
    use = RegularizerUse(use="l2", weight=0.5)
    assert weight_of(use, "")(3.0) == weight_of(use, "head")(0.0) == 0.5


def test_one_number_per_term() -> None:
    use = RegularizerUse(use="l2_sp", weight={"backbone": 0.1, "head": 0.2})
    assert weight_of(use, "head")(0.0) == 0.2
    with pytest.raises(InputError, match='no entry for its term "neck"'):
        weight_of(use, "neck")
    check_terms(use, {"backbone", "head", "other"})
    with pytest.raises(InputError, match='no term "head"'):
        check_terms(use, {"backbone"})


@pytest.mark.parametrize(
    ("shape", "halfway"),
    [("linear", 0.15), ("cosine", 0.15)],
)
def test_a_schedule_moves_from_one_value_to_the_other(shape: str, halfway: float) -> None:
    use = RegularizerUse(use="bss", weight={"from": 0.1, "to": 0.2, "over": 4, "shape": shape})
    weight = weight_of(use, "")
    assert weight(0.0) == pytest.approx(0.1)
    assert weight(2.0) == pytest.approx(halfway)
    assert weight(4.0) == weight(100.0) == pytest.approx(0.2)
    quarter = {"linear": 0.125, "cosine": 0.1 + 0.1 * (1 - 2**-0.5) / 2}
    assert weight(1.0) == pytest.approx(quarter[shape])

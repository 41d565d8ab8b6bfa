from __future__ import annotations

import pytest

from transferkit.errors import InputError
from transferkit.recipe.schema import RegularizerUse
from transferkit.training.term_weights import check_terms, weight_of


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

"""The values of interference.json: round trip, p-values by hand, thinning that keeps p-values valid."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from transferkit.deploy.interference import KEPT, Calibration, Score, parse_interference, rank_of
from transferkit.testing import tiny_model
from transferkit.testing.detector import LINGERING, SCORES, tiny_detector


def test_round_trip():
    one = tiny_detector(tiny_model(), Score("refitted", "sum"), named=[1, 1, 3])
    content = json.loads(json.dumps(one.to_json()))
    again = parse_interference(content, Path("x"))
    assert again.to_json() == one.to_json()
    assert again.indices == list(LINGERING) and again.head_file == "interference_head.safetensors"
    assert again.calibration.named == {1: 2, 3: 1} and again.score.reduction == "sum"
    assert list(content)[:2] == ["schema_version", "created_by"]


@pytest.mark.parametrize(
    ("score", "expected"), [(0.0, 1.0), (0.01, 1.0), (0.015, 19 / 20), (0.19, 2 / 20), (0.5, 1 / 20)]
)
def test_p_values_by_hand(score, expected):
    assert Calibration.of(SCORES).p_value(score) == pytest.approx(expected, abs=1e-12)


def test_no_p_value_without_clean_scores_or_score():
    assert math.isnan(Calibration.of([]).p_value(0.5)) and math.isnan(Calibration.of(SCORES).p_value(math.nan))


def test_quantiles_are_order_statistics():
    found = Calibration.of(i / 100 for i in range(100, 0, -1)).quantiles
    assert found == {"0.5": 0.5, "0.9": 0.9, "0.95": 0.95, "0.99": 0.99}


@pytest.mark.parametrize("n", [KEPT + 1, 2 * KEPT + 1, 7919])
def test_thinned_scores_never_make_a_p_value_smaller(n):
    rng = random.Random(n)
    scores = [rng.random() for _ in range(n)]
    thin = Calibration.of(scores)
    assert len(thin.scores) == KEPT and set(thin.scores) <= set(scores)
    whole = Calibration(tuple(sorted(scores)))
    for at in [*rng.sample(scores, 300), *thin.scores[:50], *thin.scores[-50:], 0.0, 1.0]:
        full, kept = whole.p_value(at), thin.p_value(at)
        assert full - 1e-12 <= kept <= full + 2 / KEPT


def test_exactly_as_many_as_are_kept_are_all_kept():
    scores = [i / KEPT for i in range(KEPT)]
    assert Calibration.of(scores).scores == tuple(scores)
    assert [rank_of(j, KEPT, KEPT) for j in (0, 1, 2, KEPT)] == [0, 1, 2, KEPT]


def test_rank_of_the_threshold():
    assert Calibration.of(SCORES).rank(0.19, 19) == 19 and Calibration.of(SCORES).rank(0.1, 19) == 10
    many = [i / 10_000 for i in range(10_000)]
    assert Calibration.of(many).rank(many[9_499], 10_000) == pytest.approx(9_500, abs=5)


def test_rounding_and_nan():
    assert Calibration.of([1 + 1e-16, 1.0000001, -1e-9]).scores == (0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="NaN"):
        Calibration.of([0.1, math.nan])

"""Numbers as people read them."""

from __future__ import annotations

import pytest

from transferkit.words.formats import epoch_of, in_unit, interval, mean_of, number, plus_minus


@pytest.mark.parametrize(
    ("mean", "sd", "low", "high", "shown", "between"),
    [
        (0.60423, 0.0213, 0.5513, 0.6572, "0.604 ± 0.021", "0.551 to 0.657"),
        (12.345, 1.5, 8.6, 16.07, "12.3 ± 1.5", "8.6 to 16.1"),
        (12345.6, 234.0, 11764, 12927, "12346 ± 234", "11764 to 12927"),
        (3.0, 0.0, 3.0, 3.0, "3 ± 0", "3 to 3"),
        (0.00001, 0.0000021, 0.0000048, 0.0000152, "1e-05 ± 2.1e-06", "4.8e-06 to 1.52e-05"),
        (-0.5, 0.1, -1.4, 0.4, "-0.50 ± 0.10", "-1.40 to 0.40"),
        (0.25, None, None, None, "0.25", "–"),
        (None, None, None, None, "–", "–"),
    ],
)
def test_digits_follow_the_standard_deviation(mean, sd, low, high, shown, between):
    assert plus_minus(mean, sd) == shown
    assert interval(low, high, sd) == between


def test_a_metric_with_and_without_seeds():
    over = {"top1": 0.9, "loss": 0.31, "sd": {"top1": 0.021, "loss": 0.04, "r2": None}, "r2": None}
    assert [mean_of(over, key) for key in ("top1", "loss", "r2")] == ["90.0 ± 2.1 %", "0.310 ± 0.040", "–"]
    assert [mean_of({"top1": 0.9, "loss": 0.31}, key) for key in ("top1", "loss")] == ["90.0 %", "0.31"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(20000.0, "20,000"), (-12345.6, "-12,346"), (9999.0, "9999"), (0.12345, "0.1235"), (1e20, "1e+20")],
)
def test_large_numbers_are_written_out(value, shown):
    assert number(value) == shown


def test_mean_epochs_have_one_decimal():
    assert [epoch_of({"epoch": epoch}) for epoch in (3, 3.0, 10 / 3, None)] == ["4", "4", "4.3", "–"]


def test_metrics_in_their_units():
    units = {
        "share": "25.0 %",
        "points": "25.0 points",
        "count": "0.25",
        "ratio": "0.25",
        "p": "0.25",
        "number": "0.25",
    }
    assert {unit: in_unit(0.25, unit) for unit in units} == units
    assert (in_unit(1 / 3, "ratio"), in_unit(1 / 3, "p"), in_unit(123456.0, "count")) == ("0.333", "0.33", "123,456")
    assert in_unit(None, "share") == "–"
    assert plus_minus(0.60423, 0.0213, "share") == "60.4 ± 2.1 %"
    assert plus_minus(0.5, 0.0, "points") == "50 ± 0 points" and plus_minus(0.5, None, "share") == "50.0 %"
    assert interval(0.5513, 0.6572, 0.0213, "share") == "55.1 to 65.7 %"
    assert interval(0.28612, 0.37951, unit="ratio") == "0.286 to 0.38"
    assert interval(0.1, 0.25, unit="share") == "10.0 to 25.0 %" and interval(None, 0.2, unit="share") == "–"

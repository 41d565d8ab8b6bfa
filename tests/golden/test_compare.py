"""What the comparison with stored files lets through, and what it does not."""

from __future__ import annotations

import pytest

from .compare import differences

STORED = '{\n  "a": 0.5,\n  "b": [\n    3,\n    null,\n    "0.25 of 4"\n  ]\n}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.5", "0.50001"),
        ("0.5", "0.500"),
        ("0.5", "5e-1"),
        ("0.5", "null"),
        ("3", "3.0"),
        ("3", "4"),
        ("null", "0.0"),
        ("0.25 of", "0.2500000001 of"),
        ('"a": 0.5,\n  ', ""),
        ('"a"', '"c"'),
        ("    3,\n    null", "    null,\n    3"),
        ("  ", "    "),
    ],
)
def test_another_text_number_order_or_layout_is_found(before, after):
    assert before in STORED
    wrong, _ = differences("report.json", STORED, STORED.replace(before, after, 1))
    assert wrong


def test_numbers_are_nearly_the_same_and_listed():
    wrong, near = differences("report.json", STORED, STORED.replace("0.5", "0.50000000001"))
    assert not wrong and near == ["report.json/a: '0.5' was stored, '0.50000000001' was found"]
    assert differences("report.json", STORED, STORED) == ([], [])


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ("name,share\nx,0.3333333333333334\n", False),
        ("name,share\nx,1e-13\n", True),
        ("name,part\nx,0.3333333333333333\n", True),
        ("name,share\nx,0.3333333\n", True),
        ("name,share\nx,\n", True),
        ("name,share\nx,0.3333333333333333\ny,1\n", True),
        ('name,share\n"x",0.3333333333333333\n', True),
    ],
)
def test_tables(found, wrong):
    assert bool(differences("t.csv", "name,share\nx,0.3333333333333333\n", found)[0]) is wrong


def test_what_should_be_zero_may_be_as_good_as_zero():
    assert not differences("t.csv", "a\n0.0\n", "a\n-1e-17\n")[0]

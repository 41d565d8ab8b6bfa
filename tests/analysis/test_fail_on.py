"""Conditions: precedence, names, what was not measured, and every way to write them wrongly."""

from __future__ import annotations

import itertools
import math

import pytest

from transferkit.analysis.fail_on import parse
from transferkit.errors import InputError

KNOWN = {
    "lingering": ("source_only", "lingering", "unknown"),
    "bias": ("high", "neutral"),
    "other": ("high", "images"),
}
VALUES = {"lingering": {"source_only": 900.0, "lingering": 21.0, "unknown": math.nan}, "bias": {"high": 0.25}}


def decided(text, values=VALUES):
    return parse(text).evaluate(values)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("lingering > 20", True),
        ("lingering > 21", False),
        ("lingering >= 21", True),
        ("lingering < 21", False),
        ("lingering <= 21", True),
        ("lingering == 21", True),
        ("lingering != 21", False),
        ("lingering>-1e3", True),
        ("lingering > +2.05e1", True),
        (" bias.high  <  .5 ", True),
        ("bias_high == 0.25", True),
        ("lingering > 20 and bias.high > 0.5", False),
        ("lingering > 20 AND bias.high > 0.2", True),
        ("(lingering > 99 or bias.high > 0.2) and source_only > 1", True),
    ],
)
def test_decides(text, holds):
    found = decided(text)
    assert found.holds is holds and not found.unchecked


def test_and_binds_tighter_than_or():
    """Against Python's own grammar, over all truth values."""
    text = "a > 0 or b > 0 and c > 0 or (d > 0 or a > 0) and b > 0"
    for values in itertools.product((0.0, 1.0), repeat=4):
        names = dict(zip("abcd", values, strict=True))
        a, b, c, d = (value > 0 for value in values)
        assert decided(text, {"x": names}).holds is (a or (b and c) or ((d or a) and b))


def test_what_was_not_measured_fails_with_that_sentence():
    found = decided("lingering.unknown > 5")
    assert found.holds and found.unchecked
    assert str(found) == "FAILED: lingering.unknown > 5 cannot be checked (not measured: lingering.unknown)"
    assert decided("nothing > 5").unchecked


@pytest.mark.parametrize(
    ("text", "holds", "unchecked"),
    [
        ("unknown > 5 or lingering > 20", True, False),  # true whatever the unknown is
        ("unknown > 5 and lingering > 99", False, False),  # false whatever the unknown is
        ("unknown > 5 or lingering > 99", True, True),
        ("unknown > 5 and lingering > 20", True, True),
    ],
)
def test_a_missing_number_matters_only_where_it_decides(text, holds, unchecked):
    found = decided(text)
    assert (found.holds, found.unchecked) == (holds, unchecked)


def test_the_sentence_has_the_values():
    assert str(decided("lingering > 20")) == "FAILED: lingering > 20 holds (lingering.lingering = 21)"
    assert str(decided("bias.high>0.5")) == "passed: bias.high>0.5 does not hold (bias.high = 0.25)"


def test_names_in_three_forms():
    for name in ("source_only", "lingering.source_only", "lingering_source_only"):
        condition = parse(f"{name} > 1")
        condition.check_names(KNOWN)
        assert condition.evaluate(VALUES).values == {"lingering.source_only": 900.0}


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match=r'no analysis here measures "lingring"; did you mean "lingering"\? available'):
        parse("lingring > 20").check_names(KNOWN)
    with pytest.raises(InputError, match=r'did you mean "bias\.neutral"'):
        parse("lingering > 2 and bias.nutral > 20").check_names(KNOWN)


def test_a_name_that_two_analyses_have():
    with pytest.raises(InputError, match=r'"high" could be bias.high or other.high; write which'):
        parse("high > 0.5").check_names(KNOWN)
    parse("bias.high > 0.5 or other_high > 1").check_names(KNOWN)


def test_the_meaning_is_that_of_the_declared_names():
    """A metric that turns up only in the results does not change what a checked condition means."""
    condition = parse("images > 3")
    condition.check_names(KNOWN)
    assert condition.evaluate({"lingering": {"images": 99.0}, "other": {"images": 1.0}}).holds is False
    assert condition.evaluate({"lingering": {"images": 99.0}}).unchecked


def test_an_analyzer_that_declares_nothing_may_have_any_metric():
    condition = parse("surprise > 3")
    condition.check_names({"lingering": ("source_only",), "mine": None})
    assert condition.evaluate({"mine": {"surprise": 4.0}}).values == {"mine.surprise": 4.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the name of a metric is needed at the end"),
        ("lingering", "one of > >= < <= == != is needed at the end"),
        ("lingering >", "a number is needed at the end"),
        ("lingering > twenty", "a number is needed instead of 'twenty'"),
        ("> 20", "the name of a metric is needed instead of '>'"),
        ("20 < lingering", "the name of a metric is needed instead of '20'"),
        ("lingering > 20 30", "'30' is one too many"),
        ("lingering > 20 and", "the name of a metric is needed at the end"),
        ("(lingering > 20", 'a "\\)" is missing'),
        ("lingering > 20)", "'\\)' is one too many"),
        ("lingering = 20", '"= 20" is not understood'),
        ("lingering > 20%", '"%" is not understood'),
        ("lingering > 20px", "not understood"),
        ("lingering > 1.2.3", "not understood"),
        ("lingering => 20", "not understood"),
        ("not lingering > 20", "instead of 'lingering'"),
        ("__import__('os').system('x') > 0", "not understood"),
        ("lingering > nan", "a number is needed"),
        ("a.b.c > 1", "not understood"),
    ],
)
def test_what_is_not_a_condition(text, words):
    with pytest.raises(InputError, match=words) as caught:
        parse(text)
    assert "NAME OP NUMBER" in str(caught.value)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(InputError, match="nested too deeply"):
        parse("(" * 10_000 + "a > 1" + ")" * 10_000)

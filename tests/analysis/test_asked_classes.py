"""Which class of a head is meant by a name, an id or a number."""

from __future__ import annotations

import pytest

from transferkit.analysis.asked_classes import asked_classes, choose_classes
from transferkit.errors import InputError

TARGET = asked_classes(["ants", "Honey_bees", "7"])
NAMELESS = asked_classes([str(index) for index in range(1000)])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("ants", 0), ("ANTS", 0), ("honey bees", 1), ("Honey_bees", 1), ("0", 0), ("7", 2), ("2", 2), ("wasps", None)],
)
def test_own_names_come_first_and_then_numbers(asked, expected):
    assert TARGET.find(asked) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("espresso", 967),
        ("n07920052", 967),
        ("967", 967),
        ("Tinca tinca", 0),
        ("tabby", 281),
        ("tabby, tabby cat", 281),
    ],
)
def test_a_model_of_imagenet_without_names_has_those_of_imagenet(asked, expected):
    assert NAMELESS.find(asked) == expected
    assert NAMELESS.names[967] == "espresso"


def test_names_of_imagenet_that_a_model_has_itself_are_kept_and_understood():
    given = [name.split(",")[0] for name in NAMELESS.names]
    found = asked_classes(given)
    assert found.names[0] == "tench" and found.find("Tinca tinca") == 0 and found.find("n07920052") == 967


def test_a_thousand_other_classes_are_not_imagenet():
    found = asked_classes([f"plant {index}" for index in range(1000)])
    assert found.find("espresso") is None and found.find("plant 3") == 3


def test_a_name_of_two_classes_is_refused_with_both():
    with pytest.raises(InputError, match=r"--class crane .* 134 .* or 517 .*\n.*give the number"):
        NAMELESS.find("crane")
    assert asked_classes(["a", "b", "a"]).names == ["a (0)", "b", "a (2)"]


def test_a_class_is_asked_of_every_head_that_has_it_and_once():
    heads = {"target": asked_classes(["bee", "wheel"]), "source": NAMELESS}
    assert choose_classes(["bee", "espresso", "n07920052"], heads, {}) == {"target": [0], "source": [309, 967]}
    assert choose_classes([], heads, {}) == {"target": [], "source": []}


def test_what_no_head_has_is_named_with_what_was_meant():
    with pytest.raises(InputError) as caught:
        choose_classes(["antz", "espresso"], {"target": TARGET}, {"source": NAMELESS})
    first, second = caught.value.problems
    assert "no class of the target head" in first.message and 'did you mean "ants"?' in str(first.hint)
    assert second.where == "--class espresso" and "--role source" in str(second.hint)


def test_of_two_heads_each_says_what_it_has():
    with pytest.raises(
        InputError, match=r'target head: did you mean "ants"(.|\n)*source head: did you mean "ant"'
    ) as caught:
        choose_classes(["antss"], {"target": TARGET, "source": NAMELESS}, {})
    assert "the target head and the source head" in str(caught.value)

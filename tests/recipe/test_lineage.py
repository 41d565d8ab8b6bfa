"""Chains of `from`: their order, what they come to, and those without an end."""

from __future__ import annotations

import pytest

from transferkit.errors import InputError
from transferkit.recipe.lineage import lineage, resolve, resolved
from transferkit.recipe.schema import Dataset


def made(**sets):
    return {name: None if given is None else Dataset.model_validate(given) for name, given in sets.items()}


SETS = made(
    photos={"folder": "photos", "labels": "names.csv", "splits": {"val": "dev"}, "on_bad_image": "skip"},
    some={"from": "photos", "classes": 2, "corruptions": [{"use": "tennis_ball"}]},
    others={"from": "some", "labels": "others.csv", "on_bad_image": "error"},
)
ROUND = made(a={"from": "b"}, b={"from": "c"}, c={"from": "b"}, own={"from": "own"})
OPEN = made(
    a={"from": "b"}, b={"from": "phots"}, photos={"folder": "photos"}, broken=None, of_broken={"from": "broken"}
)


def test_the_data_set_itself_comes_first():
    assert lineage("others", SETS) == ["others", "some", "photos"]
    assert lineage("photos", SETS) == ["photos"]


def test_a_circle_ends_where_it_closes():
    assert lineage("a", ROUND) == ["a", "b", "c", "b"]
    assert lineage("b", ROUND) == ["b", "c", "b"]
    assert lineage("own", ROUND) == ["own", "own"]


def test_what_is_not_there_ends_it():
    assert lineage("a", OPEN) == ["a", "b", "phots"]
    assert lineage("of_broken", OPEN) == ["of_broken", "broken"]
    assert lineage("nothing", OPEN) == ["nothing"]


def test_what_is_nearest_wins_and_corruptions_are_not_inherited():
    found = resolve("others", SETS)
    assert found == resolved("others", SETS)
    assert (found.folder, found.labels, found.classes) == ("photos", "others.csv", 2)
    assert found.splits == {"val": "dev"}
    assert found.on_bad_image == "error"  # said, though it is the default
    assert resolve("some", SETS).on_bad_image == "skip"
    assert found.from_ is None and found.corruptions == []
    assert resolve("photos", SETS) is SETS["photos"]


@pytest.mark.parametrize(
    ("name", "sets", "message"),
    [
        ("a", ROUND, r"datasets\.a: a -> b -> c -> b goes in a circle"),
        ("own", ROUND, r"datasets\.own: own -> own goes in a circle"),
        ("a", OPEN, r'datasets\.b  no data set called "phots".*did you mean "?photos'),
        ("nothing", OPEN, r'datasets\.nothing  no data set called "nothing"'),
    ],
)
def test_without_an_end(name, sets, message):
    assert resolved(name, sets) is None
    with pytest.raises(InputError, match=r"(?s)" + message):
        resolve(name, sets)


def test_a_data_set_that_could_not_be_read_has_no_facts():
    assert resolved("of_broken", OPEN) is None and resolved("broken", OPEN) is None

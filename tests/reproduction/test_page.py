"""The page says what the stored files say: it is made anew and compared, and each of its numbers is looked up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evidence.artefacts import HERE, ROOT, artefacts
from evidence.page import PAGE, page, reading_of, result_of, shown
from evidence.readings import row_reading
from evidence.results import estimate

KNOWN = artefacts()
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:e-?\d+)?(?![\w.])")
MEASURED = re.compile(r"\d\s*%?\s*(?:±|\[-?\+?\d)")
"""A number with its spread or its interval: what only a measurement has."""


def test_the_page_is_what_the_stored_results_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(KNOWN), "python -m evidence page"


def test_every_stored_file_belongs_to_an_experiment_and_has_its_command() -> None:
    for path in HERE.glob("*.json"):
        experiment = KNOWN.experiments[path.stem]
        stored = result_of(path.stem)
        assert stored is not None and stored["command"] == experiment.line(), path
        assert stored["numbers"] and stored["seeds"] and stored["versions"]["torch"], path
        assert str(Path.home()) not in path.read_text() and "/work/" not in path.read_text(), path


@pytest.mark.parametrize("row", KNOWN.rows, ids=lambda row: row.name)
def test_every_number_of_a_row_is_stored(row) -> None:
    result = result_of(row.experiment)
    if result is None:
        assert reading_of(row, result) == "not run"
        return
    for number in row.numbers:
        assert number.key in result["numbers"], number.key
        assert number.minus is None or number.minus in result["numbers"], number.minus
        assert shown(number, estimate(result["numbers"], number.key, number.minus, number.unit)) in page(KNOWN)


def test_a_row_is_read_from_its_numbers() -> None:
    assert row_reading(["holds", "holds"]) == "reproduced"
    assert row_reading(["holds", "not certain"]) == "in part" == row_reading(["holds", "opposite"])
    assert row_reading(["opposite"]) == "opposite"
    assert row_reading(["opposite", "not certain"]) == "not" == row_reading(["not certain"])
    assert row_reading([]) == "shown"


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.name)
def test_recipes_measure_nothing_in_their_comments(recipe) -> None:
    """What was measured stands on the page, made from stored files: a number in a comment is checked by nobody."""
    comments = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("#")]
    measured = [line for line in comments if MEASURED.search(line) or "reproduced" in line.lower()]
    assert not measured, measured


def test_recipes_point_at_rows_that_exist() -> None:
    names = {row.name for row in KNOWN.rows}
    for recipe in (ROOT / "recipes").rglob("*.yaml"):
        pointed = set(re.findall(r"\b00\d-[A-Z]+\d*[a-d]*\b", recipe.read_text(encoding="utf-8")))
        assert pointed <= names, recipe


def test_a_panel_is_not_the_figure() -> None:
    row = next(row for row in KNOWN.rows if row.name == "003-F2")
    result = result_of(row.experiment)
    assert result is not None and not row.whole and reading_of(row, result) == "in part"
    assert reading_of(row.model_copy(update={"whole": True}), result) == "reproduced"

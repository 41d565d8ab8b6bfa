"""The method cards and pages measure nothing by themselves: a number that was found stands in a stored file.

What came of an experiment is on docs/reproduction.md, made from evidence/*.json, and what something costs in
benchmarks/README.md. A card points there: what it says by itself nobody checks.
"""

from __future__ import annotations

import re

import pytest

from evidence.artefacts import artefacts

from .pages import DOCS, ROOT

CARDS = sorted((ROOT / "plugins").glob("*/README.md"))
PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.glob("*.md")) if page.name != "reproduction.md")]
TRIALS = re.compile(
    r"(small|our|one) trials?\b|independent trial of|when we tried|in our own|\*\*Measured"  # nobody can look them up
    r"|[-+−]?\d*\.\d+ against \d|[+−]\d+ points|\[[-+−]\d*\.?\d+, [-+−]\d*\.?\d+\]|\[\d*\.\d+, \d*\.\d+\]"  # found
    r"|beyond (the )?noise|did not differ|no less than after",
    re.IGNORECASE,
)


def name(path):
    return path.parent.name.removeprefix("transferkit_") if path.name == "README.md" else path.name


@pytest.mark.parametrize("card", CARDS + PAGES, ids=name)
def test_what_an_experiment_found_is_not_told_here(card) -> None:
    text = " ".join(card.read_text(encoding="utf-8").split())
    assert not [found.group() for found in TRIALS.finditer(text)]


@pytest.mark.parametrize("card", CARDS + PAGES, ids=name)
def test_rows_that_are_pointed_at_exist(card) -> None:
    text = card.read_text(encoding="utf-8")
    pointed = set(re.findall(r"\b00\d-[A-Z]+\d*[a-d]*\b", text))
    assert pointed <= {row.name for row in artefacts().rows}
    assert {file for file in re.findall(r"benchmarks/\w+\.\w+", text) if not (ROOT / file).is_file()} == set()


@pytest.mark.parametrize("card", CARDS, ids=name)
def test_a_cost_in_numbers_has_its_benchmark(card) -> None:
    """Times and ratios are of a machine: the card says which benchmark printed them."""
    cost = re.search(r"\*\*Cost\.\*\*(.*?)\n\n", card.read_text(encoding="utf-8"), re.DOTALL)
    assert cost, card
    if re.search(r"\d (times|%|ms|µs|s\b|seconds|minutes|MB|GB)|of one core", cost[1]):
        measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
        named = set(re.findall(r"benchmarks/(\w+\.py)", cost[1]))
        assert named or "benchmarks/README.md" in cost[1]
        assert all(re.search(rf"{re.escape(one)}[^\n]*\d", measured) for one in named), named


@pytest.mark.parametrize("card", CARDS, ids=name)
def test_what_simulations_say_is_held_by_a_test(card) -> None:
    """A paragraph about simulations, or about how often an interval holds the truth, names the file that simulates."""
    for paragraph in card.read_text(encoding="utf-8").split("\n\n"):
        if re.search(r"simulat|holds? the\s+truth", paragraph, re.IGNORECASE):
            named = re.findall(r"tests/[\w/]+\.py", paragraph)
            assert named and all((ROOT / file).is_file() for file in named), paragraph

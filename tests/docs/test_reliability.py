"""The table of what was tried: it parses, every fault is explained, and nothing in it ended badly."""

from __future__ import annotations

import json

import pytest

from tests.faults.table import BAD, main, parse, read, table

from .pages import page, sections


def test_nothing_ended_badly():
    found = parse(page("reliability"))
    assert found
    assert not [fault for fault, outcomes in found.items() if any(bad in end for end in outcomes for bad in BAD)]


def test_every_fault_is_explained():
    rows = sections(page("reliability"))["The faults"].splitlines()
    starts = [name.strip("`") for row in rows for name in row.split("|")[1:2] for name in name.strip().split(", ")]
    for fault in parse(page("reliability")):
        assert any(_fits(start, fault) for start in starts), fault


def _fits(start: str, fault: str) -> bool:
    before, dots, after = start.partition("…")
    return fault.startswith(before.strip()) and after.strip() in fault if dots else fault == start


@pytest.mark.parametrize(
    "outcome, code", [("a sentence, resumed bit for bit", 0), ("WRONG: weights", 1), ("traceback", 1)]
)
def test_the_table_is_what_was_found(tmp_path, outcome, code):
    lines = [
        {"fault": "disk full", "outcome": outcome, "times": 3},
        {"fault": "disk full", "outcome": "went on", "times": 2},
        {"fault": "disk full", "outcome": "went on", "times": 1},
    ]
    (tmp_path / "found.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "page.md").write_text(page("reliability"))
    assert main(tmp_path / "found.jsonl", tmp_path / "page.md") == code
    text = (tmp_path / "page.md").read_text()
    assert parse(text) == read((tmp_path / "found.jsonl").read_text())
    assert parse(text)["disk full"].total() == 6
    assert text.replace(table(parse(text)), "") == page("reliability").replace(table(parse(page("reliability"))), "")

"""No interval of a share leaves 0 … 100 %, in numbers, tables and sentences of any report that is stored here."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from transferkit.runs.record import declared_in

REPORTS = sorted(Path(__file__).parent.glob("*/report.json"))
DIFFERENCES = {
    "change", "moved_minus_baseline", "impact_minus_floor", "forgetting", "normalised_forgetting", "gate", "gain",
    "attraction_added", "accuracy", "attraction", "difference", "plasticity",
}  # fmt: skip
"""Columns that may be negative: how much more there is of something."""
OTHERS = {"r", "r_corrected", "intraclass_correlation", "participation_change"}
"""Correlations, and ratios that are no part of anything."""
RANGES = re.compile(
    r"(?<![\d.,])(-?[\d.]+) to (-?[\d.]+) %|\[(-?[\d.]+) %, (-?[\d.]+) %\]|(-?[\d.]+) % to (-?[\d.]+) %"
)


@pytest.fixture(scope="module", params=REPORTS, ids=lambda path: path.parent.name)
def report(request):
    return request.param, json.loads(request.param.read_text(encoding="utf-8"))


def test_metrics_lie_within_what_their_unit_can_be(report):
    path, content = report
    for metric in declared_in([path]).values():
        least, most = metric.bounds
        for key in metric.keys:
            value = content["metrics"].get(key)
            assert value is None or least <= value <= most, key


def triples(columns):
    """(place of the value, of the lower and of the upper end) of every interval in a table."""
    for at, name in enumerate(columns):
        if name == "low" or name.endswith("_low"):
            high = columns.index(name.removesuffix("low") + "high")
            stem = name.removesuffix("low").removesuffix("_")
            full = [i for i, other in enumerate(columns[:at]) if stem and other == stem]
            yield (full[0] if full else at - 1), at, high


def test_intervals_of_what_lies_within_0_and_1_do_so_in_tables(report):
    _, content = report
    for name, table in content["tables"].items():
        for value, low, high in triples(table["columns"]):
            rows = [[math.nan if cell is None else cell for cell in row] for row in table["rows"]]
            known = [row for row in rows if not math.isnan(row[value])]
            column = table["columns"][value]
            if column in DIFFERENCES | OTHERS or not all(0 <= row[value] <= 1 for row in known):
                continue
            for row in known:
                assert not (row[low] < 0 or row[high] > 1), (name, column, row)


def test_sentences_have_no_range_beyond_0_and_100_per_cent(report):
    _, content = report
    texts = [content["verdict"] or "", *content["notes"], *content["gaps"], *content["captions"].values()]
    for text in texts:
        for found in RANGES.finditer(text):
            ends = [float(one) for one in found.groups() if one is not None]
            assert min(ends) >= 0 and max(ends) <= 100, text


def test_the_pattern_finds_ranges():
    for text in ("(95 % interval 0 to 124 %)", "65 % (95 % interval 7 % to 124 %)", "left [-3.0 %, 7.1 %]"):
        assert RANGES.search(text), text
    assert not RANGES.search("95 % interval -1.0 to 3.0 points")

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from transferkit.reporting.charts import (
    MATRIX_CELLS,
    Series,
    as_percent,
    confusion_matrix,
    is_spread,
    line_chart,
    linear_axis,
    log_axis,
    nice_step,
    short,
)


@pytest.mark.parametrize(("span", "count", "step"), [(1, 5, 0.2), (10, 5, 2), (7, 5, 2), (0.03, 5, 0.01), (100, 4, 50)])
def test_steps_are_round(span, count, step):
    assert nice_step(span, count) == pytest.approx(step)


@pytest.mark.parametrize("values", [[0.1, 0.9], [-3, 17], [1e-6, 3e-6], [5, 5], [0, 0], [1e9, 1e9 + 1]])
def test_linear_axis_holds_the_values_between_its_end_ticks(values):
    axis = linear_axis(values)
    assert axis.low <= min(values) and max(values) <= axis.high and axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 8
    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 1)


def test_linear_axis_can_start_at_zero():
    assert linear_axis([0.5, 0.9], zero=True).low == 0
    assert linear_axis([-0.5, 0.9], zero=True).low == -0.5


def test_log_axis_places_powers_evenly():
    axis = log_axis([1e-4, 0.02, 0, -1])
    assert (axis.low, axis.high) == pytest.approx((1e-4, 0.1))
    assert axis.place(1e-3) == pytest.approx(1 / 3)
    assert log_axis([1.0]).low < 1 < log_axis([1.0]).high


def test_spread_ignores_zeros():
    assert is_spread([0, 1e-3, 1])
    assert not is_spread([0, 0.5, 1])
    assert not is_spread([])


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (1200, "1200"), (1e-5, "1e-5"), (2.5e-6, "2.5e-6"), (1e6, "1e6")]
)
def test_tick_labels(value, text):
    assert short(value) == text
    assert as_percent(0.85) == "85 %"


def points_of(svg):
    root = ElementTree.fromstring(svg)
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()] for line in root.iter("polyline")
    ]


def test_a_line_goes_where_the_numbers_say():
    [points] = points_of(line_chart([Series("a", [(1, 0.0), (2, 0.5), (3, 1.0)])], label="x"))
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 == pytest.approx((x1 + x3) / 2) and y2 == pytest.approx((y1 + y3) / 2)
    assert y3 < y1  # up is more


def test_missing_and_infinite_values_are_gaps():
    [points] = points_of(line_chart([Series("a", [(1, 0.0), (2, None), (3, math.inf), (4, 1.0)])], label="x"))
    assert len(points) == 2
    assert line_chart([Series("a", [(1, None)])], label="x") == ""
    assert line_chart([], label="x") == ""
    assert line_chart([Series("a", [(1, 0.0)])], label="x", log=True) == ""


def test_a_single_epoch_is_a_dot():
    svg = line_chart([Series("a", [(0, 0.3)])], label="x")
    assert len(list(ElementTree.fromstring(svg).iter("circle"))) == 1


def test_labels_are_escaped():
    assert "&lt;b&gt;" in line_chart([Series("a", [(0, 1.0)])], label="<b>")
    assert "&lt;b&gt;" in confusion_matrix([[1, 0], [0, 1]], ["<b>", "c"])


def test_confusion_cells_show_counts_and_shades():
    root = ElementTree.fromstring(confusion_matrix([[3, 1], [0, 4]], ["a", "b"]))
    counts = [text.text for text in root.iter("text") if text.get("class", "").startswith("count")]
    assert counts == ["3", "1", "0", "4"]
    shades = [float(rect.get("opacity")) for rect in root.iter("rect") if rect.get("opacity")]
    assert shades == pytest.approx([math.sqrt(0.75), math.sqrt(0.25), 1.0], abs=1e-3)


def test_large_matrices_draw_filled_cells_only_and_huge_ones_nothing():
    size = 100
    svg = confusion_matrix([[5 * (i == j) for j in range(size)] for i in range(size)], [str(i) for i in range(size)])
    assert len(re.findall("<rect", svg)) == size + 1
    huge = math.isqrt(MATRIX_CELLS) + 1
    assert confusion_matrix([[1] * huge for _ in range(huge)], [""] * huge) == ""
    assert confusion_matrix([], []) == ""

"""What shared drawings put into the axes: places, sizes, whiskers; and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from transferkit.analysis.drawings import agreement, curves, dots, grouped_bars, heat, legend_above, name_points
from transferkit.statistics import Estimate

NAN = math.nan


@pytest.fixture
def axes():
    return Figure().add_subplot()


def segments(axes):
    """The whiskers, each as its two ends."""
    return [path.round(9).tolist() for lines in axes.collections for path in lines.get_segments()]


def test_bars_of_two_series_stand_beside_each_other(axes):
    series = {"one": [0.25, 0.5, NAN], "other": [Estimate(0.5, 0.25, 1.0), Estimate(0.75), NAN]}
    middles = grouped_bars(axes, ["a", "b", "c"], series, scale=100)
    np.testing.assert_allclose(middles["one"], [-0.2, 0.8, 1.8])
    np.testing.assert_allclose(middles["other"], [0.2, 1.2, 2.2])
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches]
    np.testing.assert_allclose(bars, [(-0.2, 25), (0.8, 50), (1.8, NAN), (0.2, 50), (1.2, 75), (2.2, NAN)])
    drawn = [one for one in segments(axes) if one]
    assert drawn == [[[0.2, 25.0], [0.2, 100.0]]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.get_legend_handles_labels()[1] == ["one", "other"]
    grouped_bars(axes, [], {})


@pytest.mark.parametrize("horizontal", [False, True])
def test_dots_have_whiskers_where_there_is_an_interval(axes, horizontal):
    values = [Estimate(0.5, 0.4, 0.7), NAN, Estimate(0.2)]
    dots(axes, [0, 1, 5], values, colour="red", label="x", horizontal=horizontal)
    (line,) = [one for one in axes.lines if one.get_marker() == "o"]
    found = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
    turned = [(0, 0.5), (5, 0.2)]
    assert found == ([(y, x) for x, y in turned] if horizontal else turned)
    whisker = segments(axes)[0]
    assert whisker == ([[0.4, 0.0], [0.7, 0.0]] if horizontal else [[0.0, 0.4], [0.0, 0.7]])


def test_dots_without_any_interval_have_no_whiskers(axes):
    dots(axes, [0, 1], [0.5, Estimate(0.2)], colour="red")
    assert not segments(axes)


def test_whiskers_never_point_inwards(axes):
    """A percentile interval need not hold the value itself."""
    dots(axes, [0], [Estimate(0.5, 0.6, 0.7)], colour="red")
    assert segments(axes)[0] == [[0.0, 0.5], [0.0, 0.7]]


def test_equal_pairs_share_a_dot(axes):
    agreement(axes, [0.1, 0.1, NAN, 0.4, 0.1], [0.2, 0.2, 0.5, 0.3, 0.2], colour="red")
    (scatter,) = axes.collections
    assert scatter.get_offsets().tolist() == [[0.1, 0.2], [0.4, 0.3]]
    np.testing.assert_allclose(scatter.get_sizes(), [30 * 3**0.75, 30])
    (diagonal,) = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0.1, 0.4]
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((0.1 - 0.018, 0.4 + 0.018))


def test_an_agreement_of_given_limits_and_of_nothing(axes):
    agreement(axes, [], [], colour="red", limits=(0, 100), diagonal=False)
    assert axes.get_xlim() == pytest.approx((-6, 106)) and not axes.lines
    agreement(axes, [], [], colour="red")
    assert axes.get_ylim() == pytest.approx((-0.06, 1.06))


def test_curves_go_round_the_colours(axes):
    curves(axes, {"a": ([1, 2], [3, 4]), "b" * 50: ([1], [NAN]), "c": ([2], [2])}, colours=["red", "blue"], marker="s")
    assert [line.get_color() for line in axes.lines] == ["red", "blue", "red"]
    assert list(axes.lines[0].get_ydata()) == [3, 4] and axes.lines[0].get_marker() == "s"
    assert [len(line.get_label()) for line in axes.lines] == [1, 40, 1]


def test_a_heat_map_has_the_first_row_on_top_and_hides_what_is_unknown(axes):
    names = [f"row {i}" for i in range(50)]
    values = np.arange(100.0).reshape(50, 2)
    values[3, 1] = NAN
    heat(axes, values, label="how warm", rows=names, columns=["left", "right"], low=0, high=100)
    (image,) = axes.images
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), np.isnan(values))
    assert image.get_clim() == (0, 100) and axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [text.get_text() for text in axes.get_yticklabels()] == names[::3]
    assert axes.figure.axes[1].get_ylabel() == "how warm"


def test_the_legend_stands_above(axes):
    axes.plot([0, 1], [0, 1], label="line")
    legend_above(axes)
    axes.figure.canvas.draw()
    assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1


def test_names_stand_beside_their_points_and_on_no_other(axes):
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    places = [(20, 50), (24, 50), (95, 20), (50, 80), (50, 80.5)]
    every = [*places, (15, 50)]
    name_points(axes, places, ["between", "right", "left", "first", "beside it"], dots=every)
    axes.figure.canvas.draw()
    written = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert list(written) == ["right", "left", "first", "beside it"]  # "between" has a dot on either side
    for name, place in zip(written, places[1:], strict=True):
        x, _ = axes.transData.transform(place)
        box = written[name]
        assert (box.x1 < x) if name in ("left", "beside it") else (box.x0 > x)
        assert not any(box.contains(*axes.transData.transform(dot)) for dot in every)
    name_points(axes, places[:1], ["alone"])
    assert axes.texts[-1].get_text() == "alone"

"""The picture of an explanation: its tiles, its colours, its words."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transferkit.analysis import explanation_picture
from transferkit.analysis.explanations import Control, Explanation, Sight, View

GREEN = np.full((20, 20, 3), (20, 160, 20), np.uint8)


def sight(name, heat, p=0.25, role="target", trouble=None):
    return Sight(role, 0, name, p, np.asarray(heat, np.float32), trouble)


def corner(value=1.0):
    heat = np.zeros((4, 4))
    heat[0, 0] = value
    return heat


def drawn(tmp_path, found, photo="photo.jpg"):
    explanation_picture.draw(tmp_path / "p.jpg", found, photo)
    return np.asarray(Image.open(tmp_path / "p.jpg").convert("RGB")).astype(int)


def one_view(*sights):
    return Explanation([View("photo", GREEN, None, {"target": ("ants", 0.75), "source": ("x", 0.5)}, list(sights))])


def test_the_photograph_has_its_colours_and_the_map_alone_has_colours_beside_it(tmp_path):
    picture = drawn(tmp_path, one_view(sight("ants", corner())))
    assert picture.shape[1] == 256 + 4 + 256
    top = picture.shape[0] - 256 - 80
    photo, heat = picture[60:280, 20:240], picture[60:280, 280:500]
    assert top > -40 and np.abs(photo - (20, 160, 20)).max() < 12
    cold, hot = heat[120:], heat[:10, :10]
    assert np.ptp(cold.mean(axis=(0, 1))) < 4  # grey
    assert hot[..., 0].mean() > hot[..., 2].mean() + 60  # yellow


def test_maps_of_one_class_share_a_scale_and_those_of_two_do_not(tmp_path):
    answers = {"target": ("ants", 0.75)}
    strong, weak = (
        [sight("ants", corner(8.0)), sight("bees", corner(1.0))],
        [sight("ants", corner(0.4)), sight("bees", corner(1.0))],
    )
    box = (5, 5, 10, 10)
    found = Explanation([View("photo", GREEN, box, answers, strong), View("greyed", GREEN, box, answers, weak)], 0.0625)
    picture = drawn(tmp_path, found)
    row = 2 * 18 + 4 + 4 + 256 + 4

    def warmth(place_in_row, number):
        part = picture[46 + number * row : 60 + number * row, place_in_row : place_in_row + 14]
        return float(part[..., 0].mean() - part[..., 2].mean())

    assert warmth(264, 0) > 60 and abs(warmth(264, 1)) < 30
    assert warmth(524, 0) == pytest.approx(warmth(524, 1), abs=5) and warmth(524, 0) > 60


def texts(monkeypatch, tmp_path, found, photo="photo.jpg"):
    kept = {}
    monkeypatch.setattr(explanation_picture, "tile_rows", lambda path, rows, notes: kept.update(rows=rows, notes=notes))
    explanation_picture.draw(tmp_path / "p.jpg", found, photo)
    return kept


def test_what_is_written_over_the_tiles(monkeypatch, tmp_path):
    sights = [
        sight("ants", corner(), 0.75),
        sight("espresso, coffee", corner(), 0.5, "source"),
        sight("bees", np.zeros((2, 2)), 0.25, trouble="empty"),
    ]
    kept = texts(monkeypatch, tmp_path, one_view(*sights))
    assert list(kept["rows"][0].titles) == [
        ("photo.jpg", "as the model sees it"),
        ("ants", "75.0 %, its answer"),
        ("espresso (source)", "50.0 %"),
        ("bees", "25.0 %, empty map"),
    ]
    assert kept["notes"] == [explanation_picture.LEGEND, explanation_picture.SOURCE]


def test_the_control_is_said_with_its_range(monkeypatch, tmp_path):
    answers = {"target": ("ants", 0.75)}
    views = [
        View(kind, GREEN, (0, 0, 5, 5), answers, [sight("bees", corner(), 0.4)])
        for kind in ("photo", "greyed", "elsewhere")
    ]
    control = Control({("target", "bees"): [0.1, 0.4, 0.6]}, {"target": ["ants", "ants", "bees"]})
    kept = texts(monkeypatch, tmp_path, Explanation(views, 0.0625, control, ["a note"]))
    titles = [row.titles for row in kept["rows"]]
    assert titles[1][0] == ("without what is in the box", "6 % of what the model sees")
    assert titles[2] == [("as much greyed elsewhere", "the median of 3 places"), ("bees", "40.0 % (10.0 to 60.0)")]
    assert [list(row.boxes) for row in kept["rows"]] == [[(0, 0, 5, 5)] * 2] * 3
    assert kept["notes"] == [explanation_picture.LEGEND, explanation_picture.SCALE, explanation_picture.RANGE, "a note"]

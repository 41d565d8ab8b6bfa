"""Pictures: the page's colours, small, the same bytes each time, no trace left in the process."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest

from transferkit.analysis import plots
from transferkit.analysis.svg import palette

from .made_up_runs import STRANGE

SVG = "{http://www.w3.org/2000/svg}"


def scatter(path, count=50, **options):
    rng = np.random.default_rng(0)
    with plots.picture(path, **options) as (_, axes):
        axes.scatter(rng.random(count), rng.random(count), s=12, label="classes")
        axes.set_xlabel("recall")
        axes.legend()
    return path


def texts(path):
    return [node.text or "" for node in ElementTree.parse(path).iter(f"{SVG}text")]


class Board:
    def __init__(self):
        self.images = []

    def add_image(self, tag, image, step=None, dataformats="CHW"):
        self.images.append((tag, image, step, dataformats))


def test_a_picture_is_an_svg_with_text_as_text(tmp_path):
    root = ElementTree.parse(scatter(tmp_path / "new" / "a.svg", width=6.4, height=4.0)).getroot()
    assert root.tag == f"{SVG}svg" and root.get("viewBox") == "0 0 460.8 288"  # 72 points per inch
    assert {"recall", "classes"} <= set(texts(tmp_path / "new" / "a.svg"))
    assert len(list(root.iter(f"{SVG}use"))) > 50


def test_colours_are_the_page_s(tmp_path):
    assert tuple(palette("light")[f"c{i}"] for i in range(8)) == plots.COLOURS
    with plots.picture(tmp_path / "a.svg") as (_, axes):
        colours = [axes.plot([0, 1], [i, i])[0].get_color() for i in range(9)]
    assert colours == [*plots.COLOURS, plots.COLOURS[0]]
    source = (tmp_path / "a.svg").read_text()
    for i in range(8):
        assert f"stroke: {palette('light')[f'c{i}']}" in source
        assert f"stroke:{palette('dark')[f'c{i}']}!important" in source


def test_the_same_data_give_the_same_bytes(tmp_path):
    first, second = (scatter(tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second and b"\r" not in first
    for trace in (b"<metadata", b"DOCTYPE", b"matplotlib.org", b"Date"):
        assert trace not in first


def test_threads_draw_what_one_alone_draws(tmp_path):
    expected = scatter(tmp_path / "a.svg").read_bytes()
    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(scatter, [tmp_path / f"{i}.svg" for i in range(8)]))
    assert all(path.read_bytes() == expected for path in paths)
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_loaded(tmp_path):
    code = (
        "import sys, pathlib; from transferkit.analysis import plots\n"
        "with plots.picture(pathlib.Path(sys.argv[1])) as (figure, axes): axes.plot([0, 1])\n"
        "print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.svg")], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_an_error_leaves_nothing(tmp_path):
    board = Board()
    with (
        pytest.raises(ZeroDivisionError),
        plots.picture(tmp_path / "a.svg", board=board) as (_, axes),
    ):
        axes.plot([0, 1])
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [] and board.images == []


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="SVG"), plots.picture(tmp_path / "a.png"):
        pass


def test_tensorboard_gets_the_picture(tmp_path):
    board = Board()
    scatter(tmp_path / "a.svg", width=4, height=3, board=board, tag="bias/a", step=3)
    scatter(tmp_path / "b.svg", board=board)
    tag, image, step, layout = board.images[0]
    assert (tag, step, layout) == ("bias/a", 3, "HWC")
    assert image.shape == (300, 400, 3) and image.dtype == np.uint8 and image.std() > 1
    assert board.images[1][0] == "b"
    assert scatter(tmp_path / "c.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_tensorboard_takes_it(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as board:
        scatter(tmp_path / "a.svg", board=board, tag="a")
    assert any(b"IHDR" in path.read_bytes() for path in (tmp_path / "tb").iterdir())


def test_strange_names_are_drawn_as_they_are(tmp_path):
    with plots.picture(tmp_path / "a.svg", height=6) as (_, axes):
        axes.barh(range(len(STRANGE)), range(len(STRANGE)))
        axes.set_yticks(range(len(STRANGE)), [plots.short_name(name, 40) for name in STRANGE])
        axes.set_title(" ".join(STRANGE))
        axes.text(0, 0, "caf\udce9 $5 or $6")
    found = texts(tmp_path / "a.svg")
    assert {"<script>alert(1)</script>", 'a"onerror="x', "R&D &amp;", "🐜", "נמלה", "$x_{$ $", "a\\x00b"} <= set(found)
    assert r"caf\xe9 $5 or $6" in found
    assert "<script" not in (tmp_path / "a.svg").read_text()


def test_numbers_in_names_are_not_shortened(tmp_path):
    name = ' x="1.23456" fill: #ffffff 0.123456789'
    with plots.picture(tmp_path / "a.svg") as (_, axes):
        axes.text(0.5, 0.5, name)
    assert name in texts(tmp_path / "a.svg")


def test_log_scales_have_plain_numbers(tmp_path):
    with plots.picture(tmp_path / "a.svg") as (_, axes):
        axes.loglog([0.001, 1], [1, 1000])
    assert {"0.001", "0.01", "0.1", "1", "100", "1000"} <= set(texts(tmp_path / "a.svg"))


def test_further_axes_get_the_style(tmp_path):
    with plots.picture(tmp_path / "a.svg") as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2)
        left.plot([0, 1])
        right.hist([1, 2, 2])
    assert not left.spines["top"].get_visible() and not right.spines["right"].get_visible()


def test_a_thousand_points_are_small_and_a_crowd_is_a_bitmap(tmp_path):
    assert scatter(tmp_path / "a.svg", 1000).stat().st_size < 65_000
    crowd = scatter(tmp_path / "b.svg", 20_000)
    root = ElementTree.parse(crowd).getroot()
    assert len(list(root.iter(f"{SVG}image"))) == 1 and crowd.stat().st_size < 320_000


def test_positions_survive_the_slimming(tmp_path):
    path = scatter(tmp_path / "a.svg", 40)
    marks = [
        (float(node.get("x")), float(node.get("y")))
        for group in ElementTree.parse(path).iter(f"{SVG}g")
        if (group.get("style") or "").startswith(f"fill: {plots.COLOURS[0]}")
        for node in group
    ]
    rng = np.random.default_rng(0)
    data = np.stack([rng.random(40), rng.random(40)], axis=1)
    assert len(marks) == 40
    for axis, sign in ((0, 1), (1, -1)):  # SVG counts y downwards
        fit = np.polyfit(data[:, axis], np.array(marks)[:, axis], 1)
        assert sign * fit[0] > 100
        assert np.allclose(np.polyval(fit, data[:, axis]), np.array(marks)[:, axis], atol=0.011)


def test_short_names():
    assert plots.short_name("espresso") == "espresso"
    assert plots.short_name("a\n b\tc") == "a b c"
    assert plots.short_name("abcdefgh", 5) == "abcd…"

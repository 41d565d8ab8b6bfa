"""Nothing that is printed on a terminal breaks within a word or a number, at any usual width."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from transferkit.system import terminal
from transferkit.training import progress
from transferkit.training.progress import Display

WIDTHS = pytest.mark.parametrize("width", [80, 60, 40])
COLUMNS = ["stage", "best top-1", "epoch", "last top-1", "val images", "chance", "time", "what it is for"]
ROWS = [
    ["baseline", "100.0 %", "12", "100.0 %", "2,000", "50.0 %", "3 min 03 s", "the same task without any source"],
    ["target", "96.5 ± 1.2 %", "10", "96.5 ± 1.2 %", "200", "50.0 %", "25 s", "what is left of it"],
]


@pytest.fixture
def screen(monkeypatch, width):
    """What a terminal of that width shows, without colours."""
    file = io.StringIO()
    shown = Console(file=file, force_terminal=True, width=width, highlight=False, markup=False, color_system=None)
    monkeypatch.setattr(terminal, "console", shown)
    return lambda: re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def words(text: str) -> set[str]:
    return set(text.split())


@WIDTHS
def test_tables_keep_words_and_numbers_whole(screen, width):
    terminal.print_table(COLUMNS, ROWS, right=COLUMNS[1:7])
    shown = screen()
    assert words(" ".join([*COLUMNS, *ROWS[0], *ROWS[1]])) <= words(shown)
    for cell in ("3 min 03 s", "96.5 ± 1.2 %"):
        assert cell in shown
    assert max(map(len, shown.splitlines())) <= width


@WIDTHS
def test_sentences_keep_words_whole_and_paths_can_be_copied(screen, width):
    text = "  the head's learning rate 0.00375 is within a factor 2 of its stability limit 0.00471"
    path = "runs/quickstart/20261130-123437-708a/stages/target/model/of-a-name-that-is-longer-than-any-line-of-80"
    terminal.say(text)
    terminal.say(f"written to {path}")
    terminal.say_whole(f"  transferkit serve {path}")
    first, _, others = screen().partition("written")
    assert first.split() == text.split() and max(map(len, first.splitlines())) <= width
    assert all(line.startswith("  ") for line in first.splitlines() if line)
    assert path in others and f"  transferkit serve {path}\n" in others


@WIDTHS
def test_rows_of_epochs_keep_numbers_whole(monkeypatch, width):
    file = io.StringIO()
    display = Display()
    display.console = Console(file=file, force_terminal=True, width=width, highlight=False, color_system=None)
    display.live = False
    train = {"epoch": 0, "loss": 0.60912, "top1": 0.692, "terms": {"bss": {"weighted": 0.000569}}, "lr": 4.9e-05}
    train |= {"images": 120, "images_per_second": 9587.3, "seconds": 203.0}
    display.begin_epoch(0, 100, steps=4, done=0)
    display.end_epoch([train, {"split": "val", "loss": 0.4685, "top1": 0.845}], improved=True, waited=0.0, images=120)
    shown = file.getvalue()
    for number in ("1/100", "0.6091", "69.2", "0.4685", "84.5", "9587", "0.000569"):
        assert number in words(shown), number
    assert max(map(len, shown.splitlines())) <= width


def test_pipes_get_one_line(capsys):
    terminal.say("word " * 40)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_narrow_terminals_have_no_bar():
    display = Display()
    for width, bars in ((80, 1), (progress.NARROW - 1, 0)):
        display.console = Console(width=width)
        assert len(display._bar()) == bars

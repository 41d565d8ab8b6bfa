import json
import math

import pytest

from transferkit.system import terminal as output
from transferkit.words.formats import duration, epoch_of, number, percent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42, "42 s"),
        (200, "3 min 20 s"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_numbers():
    assert (percent(0.9412), percent(None), percent(1, 0)) == ("94.1 %", "–", "100 %")
    assert (epoch_of({"epoch": 0}), epoch_of({"epoch": 2.5}), epoch_of({})) == ("1", "3.5", "–")
    assert (number(0.000123456), number(None), number(12345.678)) == ("0.0001235", "–", "12,346")


def test_plain_table_aligns_and_has_no_trailing_spaces():
    text = output.plain_table(["a", "long"], [["xyz", "1"], ["", "22"]], right=["long"])
    assert text == "a    long\nxyz     1\n       22"
    assert output.plain_table(["a"], []) == "a"


def test_table_is_plain_in_a_pipe_and_markup_is_text(capsys):
    output.print_table(["class"], [["[bold]x[/bold]"]])
    assert capsys.readouterr().out == "class\n[bold]x[/bold]\n"
    output.say("[red]x")
    assert capsys.readouterr().out == "[red]x\n"


def test_table_is_drawn_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(output.console, "_force_terminal", True)
    output.print_table(["class", "n"], [["[bold]x", "1"]], right=["n"])
    out = capsys.readouterr().out
    assert "[bold]x" in out and "─" in out


def test_json_has_no_nan(capsys):
    output.print_json({"a": math.nan, "b": [math.inf, 1.5], "c": "ü"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": [None, 1.5], "c": "ü"} and "ü" in out


def test_long_sentences_are_not_broken_in_a_pipe(capsys):
    output.note("x " * 200)
    assert capsys.readouterr().err == "x " * 200 + "\n"


def test_progress_is_silent_without_a_terminal(capsys):
    with output.progress(3, "work") as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_progress_appears_after_a_while(monkeypatch, capsys):
    monkeypatch.setattr(output.err, "_force_terminal", True)
    monkeypatch.setattr(output.err, "is_interactive", True)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress(3, "work") as advance:
        advance(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(output, "PATIENCE", -1.0)
    with output.progress(3, "work") as advance:
        advance(1)
    assert "work" in capsys.readouterr().err

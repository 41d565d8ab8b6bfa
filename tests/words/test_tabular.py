from __future__ import annotations

import builtins
import math

import pytest

from transferkit.errors import InputError
from transferkit.words.tabular import SHOWN, Tabular, html_table


class Planets(Tabular):
    def records(self):
        return [{"name": "<b>Mars</b>", "moons": 2, "mass": 0.107123, "rings": False, "life": None}]

    def heading(self):
        return "1 planet & more"

    def sentences(self):
        return ["it is <red>"]


def test_a_notebook_sees_a_table_in_which_nothing_is_markup():
    shown = Planets()._repr_html_()
    assert "&lt;b&gt;Mars&lt;/b&gt;" in shown and "1 planet &amp; more" in shown and "it is &lt;red&gt;" in shown
    assert "<td>2</td><td>0.1071</td><td>no</td>" in shown
    assert "life" not in shown, "a column without a value"
    assert repr(Planets()) == "<1 planet & more>"


def test_long_tables_are_cut_and_say_so():
    shown = html_table([{"n": i, "x": math.nan} for i in range(SHOWN + 12)])
    assert shown.count("<tr>") == 1 + SHOWN and "and 12 more" in shown
    assert html_table([]) == ""


def test_a_frame_has_every_row_and_value():
    pytest.importorskip("pandas")
    frame = Planets().to_frame()
    assert frame.to_dict("records") == Planets().records()


def test_without_pandas_a_sentence_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install pandas"):
        Planets().to_frame()

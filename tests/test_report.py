"""report.json and the tables beside it: complete, valid JSON, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from transferkit.errors import InputError
from transferkit.report import Report, Table, attempt, finite
from transferkit.statistics import Estimate

FACTS = {"name": "a", "plugin": "p", "version": "1", "parameters": {"k": 5}}


def written(report, folder):
    return json.loads(report.write(folder, **FACTS).read_text(encoding="utf-8"))


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_everything_is_in_report_json(tmp_path):
    report = Report(
        {"share": 0.25},
        {"classes": Table(["class", "name"], [(0, "ant")], folded=True), "short": Table(["a"], [[1]])},
        ["scatter.svg"],
        "It holds.",
        notes=["50 images per class"],
        gaps=["no baseline was given"],
        captions={"scatter.svg": "One point per class."},
    )
    assert written(report, tmp_path / "new" / "folder") == {
        **FACTS,
        "verdict": "It holds.",
        "metrics": {"share": 0.25},
        "tables": {
            "classes": {"columns": ["class", "name"], "rows": [[0, "ant"]], "folded": True},
            "short": {"columns": ["a"], "rows": [[1]], "folded": False},
        },
        "figures": ["scatter.svg"],
        "notes": ["50 images per class"],
        "gaps": ["no baseline was given"],
        "captions": {"scatter.svg": "One point per class."},
    }
    assert rows(tmp_path / "new" / "folder" / "classes.csv") == [["class", "name"], ["0", "ant"]]


def test_an_empty_report_has_every_key(tmp_path):
    empty = written(Report(), tmp_path)
    assert (empty["notes"], empty["gaps"], empty["captions"], empty["verdict"]) == ([], [], {}, None)


def test_what_is_no_number_is_null(tmp_path):
    table = Table(["a", "b"], [[float("nan"), np.float32("inf")], [np.float64(0.5), torch.tensor(2)]])
    content = written(Report({"x": float("nan"), "y": torch.tensor(1.5)}, {"t": table}), tmp_path)
    assert content["metrics"] == {"x": None, "y": 1.5}
    assert content["tables"]["t"]["rows"] == [[None, None], [0.5, 2]]
    assert rows(tmp_path / "t.csv")[1:] == [["nan", "inf"], ["0.5", "2"]]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\n=1", "＝1", "-", "=", "-inf x"]
)
def test_a_spreadsheet_runs_nothing(tmp_path, cell):
    content = written(Report(tables={"t": Table([cell, "n"], [[cell, 1]])}), tmp_path)
    assert rows(tmp_path / "t.csv") == [[f"'{cell}", "n"], [f"'{cell}", "1"]]
    assert content["tables"]["t"]["rows"] == [[cell, 1]]


@pytest.mark.parametrize("cell", [-0.5, -3, "-0.5", "+1e-3", "a=b", "n02206856", "'quoted", "1-2", "", "מבחן", "🐜"])
def test_numbers_and_ordinary_names_stay(tmp_path, cell):
    Report(tables={"t": Table(["a"], [[cell]])}).write(tmp_path, **FACTS)
    assert (rows(tmp_path / "t.csv")[1] or [""]) == [str(cell)]


def test_names_with_commas_quotes_and_lines_come_back(tmp_path):
    cells = ['a, "b"', "two\nlines", "<b>&amp;"]
    Report(tables={"t": Table(["x", "y", "z"], [cells])}).write(tmp_path, **FACTS)
    assert rows(tmp_path / "t.csv")[1] == cells


def test_a_file_name_that_is_no_text_is_escaped(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert written(Report(tables={"t": Table(["image"], [[name]])}), tmp_path)["tables"]["t"]["rows"] == [
        [r"caf\xe9.jpg"]
    ]
    assert rows(tmp_path / "t.csv")[1] == [r"caf\xe9.jpg"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\\b"])
def test_a_table_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="becomes a file name"):
        Report(tables={name: Table(["a"], [])}).write(tmp_path / "x", **FACTS)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("field", ["notes", "gaps", "figures"])
def test_one_text_is_no_list(tmp_path, field):
    with pytest.raises(TypeError, match=f"Report.{field} is a list"):
        Report(**{field: "no baseline"}).write(tmp_path, **FACTS)


def test_a_report_is_replaced_whole(tmp_path):
    Report({"a": 1.0}).write(tmp_path, **FACTS)
    with pytest.raises(TypeError):
        Report({"a": 2.0}, {"t": Table(["x"], [[object()]])}).write(tmp_path, **FACTS)
    assert json.loads((tmp_path / "report.json").read_text())["metrics"] == {"a": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_same_report_gives_the_same_bytes(tmp_path):
    report = Report({"a": 1 / 3}, {"t": Table(["x"], [["é"], [0.1]])}, notes=["n"])
    files = [report.write(tmp_path / name, **FACTS) for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"\r" not in files[0].read_bytes() and "é".encode() in files[0].read_bytes()


def test_finite_reaches_every_depth():
    value = {"a": [1, (float("nan"), {2: np.array([1.0, np.inf])})], "b": None, "c": True}
    assert finite(value) == {"a": [1, [None, {"2": [1.0, None]}]], "b": None, "c": True}


def test_an_estimate_is_written_with_its_ends(tmp_path):
    report = Report({"x": Estimate(0.5, 0.25, 0.75, 9), "y": 2, "z": Estimate(0.5)})
    expected = {"x": 0.5, "x_low": 0.25, "x_high": 0.75, "y": 2, "z": 0.5, "z_low": None, "z_high": None}
    content = written(report, tmp_path)
    assert content["metrics"] == expected and list(content["metrics"]) == list(expected)
    assert report.metrics["x_low"] == 0.25 and list(report.numbers) == list(expected)


def test_figures_are_those_with_captions(tmp_path):
    assert written(Report(captions={"b.svg": "B", "a.svg": "A"}), tmp_path)["figures"] == ["b.svg", "a.svg"]
    assert written(Report(figures=["a.svg"], captions={"b.svg": "B"}), tmp_path)["figures"] == ["a.svg"]


def test_a_table_of_rows_with_names():
    table = Table.of([{"class": 0, "name": "ant"}, {"class": 1, "name": "bee"}], folded=True)
    assert table == Table(["class", "name"], [[0, "ant"], [1, "bee"]], folded=True)
    assert Table.of([], columns=["a", "b"]) == Table(["a", "b"], [])
    for other in ({"class": 1}, {"name": "bee", "class": 1}, {"class": 1, "name": "bee", "more": 2}):
        with pytest.raises(ValueError, match="a row has the columns"):
            Table.of([{"class": 0, "name": "ant"}, other])


def test_an_attempt_that_fails_is_a_gap():
    def fails(text):
        raise InputError(text)

    gaps = ["before"]
    assert attempt(gaps, "The baseline was not measured", lambda: 5) == 5 and gaps == ["before"]
    assert attempt(gaps, "The baseline was not measured", lambda: fails("there is none;\n  bring one")) is None
    attempt(gaps, "The baseline was not measured", lambda: fails("there is none; bring one"))
    attempt(gaps, "", lambda: fails("nothing is there"))
    assert gaps == ["before", "The baseline was not measured: there is none; bring one.", "Nothing is there."]
    with pytest.raises(ZeroDivisionError):
        attempt(gaps, "x", lambda: 1 / 0)

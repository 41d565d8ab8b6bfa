"""`--out` is judged before any work begins: no model, recipe or folder named here exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferkit.cli.outputs import choose_format, refuse_file
from transferkit.errors import InputError


@pytest.mark.parametrize(
    ("json", "csv", "out", "form"),
    [
        (False, False, None, "table"),
        (False, False, "a.csv", "csv"),
        (False, False, "a.JSON", "json"),
        (False, False, "a.txt", "table"),
        (False, False, "answers", "table"),
        (True, False, "answers", "json"),
        (True, False, "a.json", "json"),
        (False, True, None, "csv"),
    ],
)
def test_the_form_of_what_is_written(json, csv, out, form):
    assert choose_format(json, csv, None if out is None else Path(out)) == form


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "nowhere", "x.png", "--out", "p.xlsx"], r".xlsx files cannot be written; .* .json, .csv or .txt"),
        (["predict", "nowhere", "x.png", "--csv", "--out", "x.json"], "leave out --csv, or end it in .csv"),
        (["predict", "nowhere", "x.png", "--csv", "--json"], "contradict each other"),
        (["detect", "nowhere", "x.png", "--out", "p.html"], r".json, .csv or .txt"),
        (["export", "nowhere", "--out", "model.onnx"], "the folder for exports, not a file; leave out the .onnx"),
        (["explain", "nowhere", "x.png", "--out", "map.png"], None),
        (["run", "nowhere.yaml", "--out", "result.json"], "the folder for runs"),
        (["audit", "nowhere", "--out", "audit.html"], "the folder for audits"),
        (["init", "nowhere", "--out", "r.json"], "ends in .yaml or .yml"),
        (["schema", "--out", "s.yaml"], "ends in .json"),
    ],
)
def test_a_wrong_ending_is_refused_first(cli, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=said or "the folder for the pictures"):
        cli(*arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_a_folder_may_be_called_like_a_file(tmp_path):
    (tmp_path / "old.zip").mkdir()
    refuse_file(tmp_path / "old.zip", "runs")
    refuse_file(tmp_path / "v1.2", "runs")

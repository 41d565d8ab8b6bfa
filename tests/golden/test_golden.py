"""Every analyzer in made-up situations writes what it wrote before: report.json and tables, as they are stored here.

`pytest tests/golden --write-golden` stores them anew. Look at the difference before you commit it.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest

from transferkit.analysis.run_analyzers import Analysis, run_analyzer
from transferkit.plugins.registry import installed
from transferkit.recipe.plugin_use import make
from transferkit.recipe.uses import AnalyzerUse

from .compare import differences
from .situations import SITUATIONS

HERE = Path(__file__).parent


def analysed(name, folder):
    """{file: text} of the report, made as in a run; the figures that it names are there and can be read."""
    situation = SITUATIONS[name](folder)
    session, use = situation.session, AnalyzerUse.model_validate(situation.use)
    (plugin,) = make([use], "analyzer", installed())
    out = situation.out or session.out
    parameters = use.model_dump(exclude={"use", "name"})
    run_analyzer(Analysis(session.workbench, plugin, out, parameters=parameters, peers=session.peers, run=session.run))
    for figure in json.loads((out / "report.json").read_text(encoding="utf-8"))["figures"]:
        assert (out / figure).is_file(), figure
        if figure.endswith(".svg"):
            ElementTree.parse(out / figure)
    return {path.name: stored_as(path, folder) for path in sorted(out.iterdir()) if path.suffix in (".json", ".csv")}


def stored_as(path, folder):
    """A file without what changes by itself: the folder of the test, and the version that is installed."""
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read().replace(str(folder), "FOLDER")
    return re.sub(r'^  "version": "[^"]*",$', '  "version": "",', text, flags=re.M) if path.suffix == ".json" else text


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_report_is_the_stored_one(name, tmp_path, request):
    found, kept = analysed(name, tmp_path), HERE / name
    if request.config.getoption("--write-golden"):
        kept.mkdir(exist_ok=True)
        for path in kept.iterdir():
            path.unlink()
        for file, text in found.items():
            (kept / file).write_bytes(text.encode("utf-8"))
        return
    assert kept.is_dir(), (
        f"nothing is stored for {name}; run pytest tests/golden --write-golden, and read what it wrote"
    )
    stored = {path.name: path.read_bytes().decode("utf-8") for path in kept.iterdir()}
    assert sorted(found) == sorted(stored)
    wrong, near = [], []
    for file, text in stored.items():
        other, close = differences(file, text, found[file])
        wrong, near = wrong + other, near + close
    assert not wrong, "\n".join([f"{name} is not what it was:", *wrong[:40]])
    if near:
        warnings.warn("\n".join([f"{name}: these numbers are not exactly what they were:", *near]), stacklevel=1)


def test_every_analyzer_is_held_and_nothing_else_is_stored(tmp_path):
    names = {json.loads((HERE / name / "report.json").read_text(encoding="utf-8"))["plugin"] for name in SITUATIONS}
    assert names == set(installed().names("analyzer"))
    assert {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(SITUATIONS)
    assert sum(path.stat().st_size for path in HERE.glob("*/*.*") if path.suffix in (".json", ".csv")) < 400_000

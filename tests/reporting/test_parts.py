"""Parts of a report page: words explained, the recipe without defaults, pictures of the user's own data."""

from __future__ import annotations

import re

import pytest

from tests.analysis.made_up_runs import RECIPE, RESULT, metrics, write_run
from tests.analysis.pages import parsed
from transferkit.report import csv_text
from transferkit.reporting.glossary import Glossary
from transferkit.reporting.html import write_report
from transferkit.reporting.resolved import differing


def test_a_word_is_explained_once_in_a_section_and_never_inside_another():
    glossary = Glossary({"source": "where it comes from", "source-only": "nowhere else", "by chance": "by luck"})
    first = '<abbr title="where it comes from">Source</abbr>'
    assert glossary.explained("Source, source") == f"{first}, source"
    assert glossary.explained("sources resource source-only") == (
        'sources resource <abbr title="nowhere else">source-only</abbr>'
    )
    glossary.section()
    assert glossary.explained("Source <b> by chance") == f'{first} &lt;b&gt; <abbr title="by luck">by chance</abbr>'
    assert list(glossary.used) == ["source", "source-only", "by chance"]


def test_commands_are_code_and_paths_break_at_folders():
    said = Glossary({"run": "x"}).explained("Say `transferkit run a/b/<c>` at 5 %.")
    assert said == "Say <code>transferkit run a/<wbr>b/<wbr>&lt;c&gt;</code> at 5\N{NO-BREAK SPACE}%."


def test_of_the_recipe_only_what_differs_is_shown():
    content = {
        "recipe_version": 1,
        "name": "x",
        "seed": 0,
        "model": {"name": "resnet18"},
        "datasets": {"d": {"folder": "data"}},
        "stages": [{"name": "t", "dataset": "d", "epochs": 3, "precision": None, "regularizers": [
            {"use": "bss", "weight": 0.1, "k": 2, "scale": "absolute"}]}],
        "analyses": [{"use": "lingering", "dataset": "d", "min_images": 5, "top_max": 7}],
    }  # fmt: skip
    content["stages"][0].pop("precision")
    shown = differing(content)
    assert shown["stages"][0]["regularizers"] == [{"use": "bss", "weight": 0.1, "k": 2}]
    assert shown["analyses"] == [{"use": "lingering", "dataset": "d", "top_max": 7}]
    assert "seed" not in shown and shown["name"] == "x"


@pytest.fixture
def run(tmp_path):
    """A run with one sure mistake and one near miss, whose class names are hostile."""
    made = write_run(tmp_path / "run", RESULT, RECIPE, metrics())
    folder = made / "stages" / "target"
    (folder / "examples").mkdir(parents=True)
    names = ("examples/mistake-01.jpg", "examples/hit-01.jpg", "training-batch.jpg")
    for name in names:
        (folder / name).write_bytes(name.encode())
    rows = [
        ["kind", "true", "predicted", "probability", "true_label", "predicted_label", "id", "picture"],
        ["mistake", "ants <b>", "bees & co", 0.97, 0, 1, "val/<7>.jpg", names[0]],
        ["hit", "bees & co", "bees & co", 0.51, 1, 1, "val/8.jpg", names[1]],
        ["hit", "bees & co", "bees & co", "much", 1, 1, "val/9.jpg", "../../../secret.jpg"],
        ["other", "x", "x", 1, 1, 1, "x", names[1]],
    ]
    (folder / "examples.csv").write_text(csv_text(rows))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    return made


def test_mistakes_and_near_misses_are_shown_and_reached_from_the_matrix(run):
    page = parsed(write_report(run))
    assert "What it gets wrong, the surest first ants <b> → bees & co 97 %" in page.all_text
    assert "What it barely gets right, the least sure first bees & co 51 %" in page.all_text
    assert "What training showed it" in page.all_text
    assert "ants <b>, taken for bees & co: val/<7>.jpg" in page.values("alt")
    assert len(page.values("src")) == 3  # what lies outside the stage's folder is not read
    cells = re.findall(r'<a href="#(images-target-\d-\d)"', (run / "report.html").read_text())
    assert cells == ["images-target-0-1", "images-target-1-1"] and set(cells) <= set(page.values("id"))
    assert "stages/target/examples.csv" in page.values("href")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"kind,picture\nmistake,\nhit\n", b"a,b\n1,2\n"])
def test_a_damaged_list_of_examples_costs_no_page(run, content):
    (run / "stages" / "target" / "examples.csv").write_bytes(content)
    text = parsed(write_report(run)).all_text
    assert "The model tells" in text and "gets wrong" not in text

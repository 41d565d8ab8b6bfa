"""The verb, the analyzer and what they say, on made-up runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from transferkit_across.analyzer import Across
from transferkit_across.entries import read_entries, split_name
from transferkit_across.options import Options
from transferkit_across.report import report

from transferkit.analysis.plots import picture
from transferkit.cli import main
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.plugins.options import path_options
from transferkit.plugins.registry import installed
from transferkit.recipe import load_recipe

from .made_up_analyses import audit, bias, result, retention, run, stage, write
from .test_across_curves import sizes

RECALL = [0.1, 0.4, 0.6, 0.9, 0.2, 0.3]
SHARES = [0.1, 0.9, 0.5, 0.3, 0.7, 0.6]


@pytest.fixture
def two(tmp_path):
    """Two architectures with recall and bias."""
    one = run(tmp_path / "one", retention(RECALL), bias=bias(SHARES))
    other = run(tmp_path / "other", retention(RECALL[::-1], ratio=0.7), bias=bias(SHARES), model="vgg16")
    return [str(one), str(other)]


def compared(given, out, **options):
    def draw(name, width, height):
        return picture(out / f"{name}.svg", width, height)

    return report(read_entries(given), Options(**options), draw)


def verb(capsys, *arguments):
    """(exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as left:
        main(["across", *map(str, arguments)])
    return (left.value.code, *capsys.readouterr())


def test_two_runs(two, tmp_path):
    found = compared(two, tmp_path / "out")
    assert list(found.metrics) == Declared.of(Across).metric_keys
    assert found.metrics["runs"] == 2 and found.metrics["pairs"] == 1
    assert found.metrics["bias_r"] == pytest.approx(1)
    assert -1 < found.metrics["recall_r"] < 1
    assert math.isnan(found.metrics["r"]) and math.isnan(found.metrics["retention_change_equal_steps"])
    assert "over 6 source classes between resnet18 and vgg16" in found.verdict
    assert "Bias towards ants correlates with r = 1.00" in found.verdict
    assert ", which may well be 0, over 6 source classes" in found.verdict  # of recall
    assert {"recall-1.svg", "bias-1.svg", "architecture-relative_retention.svg"} <= set(found.figures)
    assert all((tmp_path / "out" / name).is_file() and found.captions[name] for name in found.figures)
    pairs = {row[0]: row for row in found.tables["pairs"].rows}
    assert pairs["bias towards ants"][3] == 6


def test_a_set_of_sizes(tmp_path):
    found = compared([sizes(tmp_path / f"run{seed}", seed) for seed in range(2)], tmp_path / "out")
    assert found.metrics["retention_change_equal_epochs"] == pytest.approx(-0.4)
    assert found.metrics["retention_change_equal_steps"] == pytest.approx(-0.1)
    assert "0.9 with 24 training images and 0.5 with 244, at equal epochs (25)" in found.verdict
    assert "Most of the difference at equal epochs goes with the number of steps" in found.verdict
    assert "images-relative_retention.svg" in found.figures and "images-top1.svg" in found.figures
    rows = found.tables["lines"].rows
    assert [row[1] for row in rows] == ["equal epochs (25)"] * 2 + ["equal steps (400)"] * 2
    assert all(row[5] == 2 for row in rows)
    assert not any("equal steps" in gap for gap in found.gaps)


def reading(tmp_path, few, few_steps, shifts=(-0.01, 0.01)):
    """The last sentence of the verdict for a retention of 0.5 with all images and these with a tenth of them."""
    for seed, shift in enumerate(shifts):
        kept = {"all": 0.5 + shift, "tenth": few - shift, "tenth-steps": few_steps}
        sizes(tmp_path / f"run{seed}", seed, kept=kept)
    return compared([tmp_path], tmp_path / "out").verdict.rpartition(". ")[2]


def test_the_two_lines_are_read_together_only_beyond_the_noise(tmp_path):
    assert "goes with the number of steps" in reading(tmp_path / "a", 0.9, 0.6)
    assert "stays at equal steps" in reading(tmp_path / "b", 0.9, 0.85)
    assert "goes the other way" in reading(tmp_path / "c", 0.9, 0.2)
    assert "within the noise" in reading(tmp_path / "d", 0.51, 0.5)
    assert "within the noise" in reading(tmp_path / "f", 0.55, 0.55)  # −0.05 ± 4.3 · 0.014
    uncertain = {"few": 0.9, "few_steps": 0.66, "shifts": (-0.02, 0.02)}
    assert "is not certain" in reading(tmp_path / "g", **uncertain)
    assert "equal steps (400)" in reading(tmp_path / "e", 0.9, 0.6, shifts=(0,))  # one seed: numbers only


def test_without_equal_steps_that_is_said(tmp_path):
    stages = [stage("all", epochs=25), stage("tenth", epochs=25, fraction=0.1)]
    reports = {name: ("retention", name, retention(RECALL)) for name in ("all", "tenth")}
    results = {"all": result(244, 400, 25), "tenth": result(24, 50, 25)}
    found = compared([write(tmp_path / "run", stages, results, reports)], tmp_path / "out")
    assert any("whether the images or the steps" in gap for gap in found.gaps)


def test_gaps_say_what_is_missing_and_why_there_is_no_r(tmp_path):
    run(tmp_path / "one", retention([0.5] * 6), bias=bias(SHARES))
    run(tmp_path / "other", retention(RECALL), model="vgg16")
    found = compared([tmp_path / "one", tmp_path / "other"], tmp_path / "out")
    assert math.isnan(found.metrics["recall_r"])
    assert any("the same value in all 6 classes" in gap for gap in found.gaps)
    assert any("No bias analysis of vgg16" in gap for gap in found.gaps)


def test_other_target_classes_are_said(tmp_path):
    run(tmp_path / "one", bias=bias(SHARES))
    run(tmp_path / "other", bias=bias(SHARES, targets=("cats", "dogs")))
    found = compared([tmp_path / "one", tmp_path / "other"], tmp_path / "out")
    assert any("different target classes" in gap for gap in found.gaps)
    assert found.verdict and math.isnan(found.metrics["bias_r"])


def test_one_quantity_or_metric(two, tmp_path):
    found = compared(two, tmp_path / "a", of="retention.recall_head_swap")
    assert found.metrics["r"] == found.metrics["recall_r"]
    assert [row[0] for row in found.tables["pairs"].rows] == ["retention.recall_head_swap"]
    assert found.figures == ["recall-1.svg"]
    assert compared(two, tmp_path / "b", of="bias.bees").metrics["r"] == pytest.approx(1)
    metric = compared(two, tmp_path / "c", of="bias.overdispersion")
    assert metric.figures == ["architecture-overdispersion.svg"] and "pairs" not in metric.tables


@pytest.mark.parametrize(
    ("of", "match"),
    [
        ("retention", "write PLUGIN"),
        ("retentoin.recall", 'did you mean "retention"'),
        ("bias.beez", 'did you mean "bees"'),
    ],
)
def test_an_of_that_nobody_has(two, tmp_path, of, match):
    with pytest.raises(InputError, match=match):
        compared(two, tmp_path / "out", of=of)
    assert not (tmp_path / "out").exists()


def test_pairs_drawn_are_limited_and_all_are_in_the_table(tmp_path):
    runs = [run(tmp_path / f"r{i}", retention(RECALL), model=f"resnet{i}") for i in range(4)]
    found = compared(runs, tmp_path / "out", pictures=2)
    assert [name for name in found.figures if name.startswith("recall")] == ["recall-1.svg", "recall-2.svg"]
    assert len(found.tables["pairs"].rows) == 6


def test_names_are_what_differs(two, tmp_path):
    assert [entry.label for entry in read_entries(two)] == ["resnet18", "vgg16"]
    run(tmp_path / "seed", retention(RECALL), seed=3)
    assert [e.label for e in read_entries([two[0], tmp_path / "seed"])] == ["seed 0", "seed 3"]
    run(tmp_path / "again", retention(RECALL))
    assert [e.label for e in read_entries([two[0], tmp_path / "again"])] == ["one", "again"]


def test_an_audit_and_a_run(two, tmp_path):
    found = audit(tmp_path / "audit", "hf-hub:x/y", {"retention": ("retention", None, retention(RECALL))})
    entries = read_entries([two[0], found])
    assert [entry.label for entry in entries] == ["ants", "audited"]
    assert entries[1].stage is None


def test_several_analyses_of_a_kind_must_be_chosen(tmp_path, two):
    reports = {name: ("retention", "target", retention(RECALL)) for name in ("plain", "recalibrated")}
    several = write(tmp_path / "several", [stage("target", epochs=5)], {"target": result(24, 10, 5)}, reports)
    with pytest.raises(InputError, match=r"several retention analyses of the stage target \(plain, recalibrated\)"):
        read_entries([several, two[0]])
    chosen = read_entries([f"{several}:plain", f"{several}:recalibrated"])
    assert [entry.label for entry in chosen] == ["plain", "recalibrated"]
    with pytest.raises(InputError, match='no finished analysis "plian"'):
        read_entries([f"{several}:plian"])
    assert split_name(f"{several}:plain") == (several, "plain")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda path: (path / "result.json").unlink(), "no run folder|not a run folder"),
        (lambda path: (path / "analyses/retention/report.json").write_text("{"), "damaged"),
        (lambda path: (path / "analyses/retention/report.json").write_text("[]"), "no report of an analysis"),
    ],
)
def test_broken_folders_are_named(two, tmp_path, change, match):
    broken = run(tmp_path / "broken", retention(RECALL))
    change(broken)
    with pytest.raises(InputError, match=match):
        read_entries([*two, broken])


def test_too_little_to_compare(two, tmp_path):
    with pytest.raises(InputError, match="two or more analysed models are needed"):
        read_entries([two[0], two[0]])
    with pytest.raises(InputError, match="has no analyses"):
        read_entries([*two, write(tmp_path / "plain", [stage("target", epochs=5)], {"target": result(2, 1, 5)}, {})])
    with pytest.raises(InputError, match="is not a folder"):
        read_entries([*two, tmp_path / "nowhere"])


def test_the_verb_writes_a_folder_with_a_page(two, tmp_path, capsys):
    out = tmp_path / "compared"
    code, text, _ = verb(capsys, *two, "--out", out)
    assert code == 0 and "vgg16" in text and str(out / "report.html") in text
    page = (out / "report.html").read_text()
    assert "2 models side by side" in page and "No stage has been recorded" not in page and "<img" in page
    content = json.loads((out / "analyses/across/report.json").read_text())
    assert content["parameters"]["runs"] == two and content["plugin"] == "across"
    code, _, err = verb(capsys, *two, "--out", out)
    assert code == 2 and "is not empty" in err


def test_the_verb_for_machines(two, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, _ = verb(capsys, *two, "--json", "--of", "retention.recall_head_swap")
    found = json.loads(text)
    assert code == 0 and found["run_dir"].startswith("across/")
    assert found["analyses"]["across"]["pairs"] == 1 and found["analyses"]["across"]["bias_r"] is None
    assert set(found["tables"]) == {"runs", "pairs"}


def test_wrong_input_leaves_nothing(two, tmp_path, capsys):
    out = tmp_path / "compared"
    for arguments in ((two[0],), (*two, tmp_path / "nowhere"), (*two, "--of", "x.y"), (*two, "--by", "colour")):
        code, _, err = verb(capsys, *arguments, "--out", out)
        assert code == 2 and "Traceback" not in err and not out.exists()


def test_strange_names_are_only_text(tmp_path, capsys):
    names = ["<script>", "$x_{$", "a\x00b", "=1+1", "R&D", "蚂蚁"]
    one = run(tmp_path / "one", retention(RECALL, names), model="<b>")
    other = run(tmp_path / "other", retention(RECALL, names), model="$y_{$")
    code, _, _ = verb(capsys, one, other, "--out", tmp_path / "out")
    assert code == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "<script>" not in page and "<b>" not in page


def test_the_analyzer_on_runs_and_on_its_own_run(two, tmp_path):
    def session(out):
        return SimpleNamespace(out=out, picture=lambda name, width, height: picture(out / f"{name}.svg", width, height))

    found = Across(runs=two).analyze(session(tmp_path / "elsewhere/analyses/across"))
    assert found.metrics["pairs"] == 1
    own = sizes(tmp_path / "run")
    here = session(own / "analyses" / "across")
    assert Across().analyze(here).metrics["runs"] == 3
    chosen = Across(analyses=["r-all", "r-tenth"], by="images").analyze(here)
    assert chosen.metrics["runs"] == 2 and "images-relative_retention.svg" in chosen.figures
    with pytest.raises(InputError, match='no finished analysis "r-al"'):
        Across(analyses=["r-al"]).analyze(here)


def test_in_a_recipe_runs_are_paths_relative_to_it(two, tmp_path):
    text = """
name: a
model: {name: resnet10t}
datasets: {w: {world: {kind: target, train: 4, val: 2}}}
stages: [{name: target, start: scratch, dataset: w, epochs: 1}]
analyses: [{use: across, runs: [one, "other:bias"], of: bias.bees}]
"""
    (tmp_path / "recipe.yaml").write_text(text)
    (use,) = load_recipe(tmp_path / "recipe.yaml").recipe.analyses
    assert use.options["runs"] == [str(tmp_path / "one"), f"{tmp_path / 'other'}:bias"]
    (tmp_path / "recipe.yaml").write_text(text.replace("[one,", "[nowhere,"))
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        load_recipe(tmp_path / "recipe.yaml")


def test_options_and_promises():
    component = installed().get("analyzer", "across")
    assert component.cls is Across and path_options(component.options) == ["runs"]
    assert not hasattr(Across, "standard_audit")
    assert component.create({}) == Across()
    with pytest.raises(ValidationError):
        component.create({"by": "colour"})
    assert all(info.description for info in component.options.model_fields.values())


def test_help_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys\nfrom transferkit.cli import main\n"
        "try: main(['across', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'matplotlib', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0

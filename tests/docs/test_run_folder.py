"""run_folder.md names every file of a real run and every key in them."""

from __future__ import annotations

import json
import re

import pytest

import transferkit

from .pages import ROOT, blocks, code, page, sections

SECTIONS = sections(page("run_folder"))
WORDS = {word for text in code(page("run_folder")) for word in re.findall(r"\w+", text)}
RECIPE = """\
name: folder
device: cpu
model: {name: test_resnet, preprocessing: {input_size: 32}}
datasets:
  shapes: {world: {kind: source, train: 2, val: 1, size: 32}}
  wheels: {world: {kind: target, train: 4, val: 2, size: 32}}
stages:
  - {name: source, start: scratch, dataset: shapes, epochs: 1, batch_size: 12, workers: 0}
  - name: target
    start: source
    dataset: wheels
    epochs: 1
    evaluate_at: [0, 2]
    evaluate_images: 3
    batch_size: 4
    workers: 0
    regularizers:
      - {use: l2_sp, weight: {backbone: 0.01, head: 0.01}}
      - {use: bss, weight: 0.001}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return transferkit.run(folder / "recipe.yaml", out=folder / "runs", quiet=True).run_dir


def test_every_file_is_named(run):
    listed = " ".join(code(page("run_folder")))
    for path in run.iterdir():
        assert path.name in listed
    for path in (run / "stages" / "target").rglob("*"):
        if "checkpoints" not in path.parts and path.parent.name != "examples":
            assert path.name in listed
    assert {path.name for path in (run / "stages" / "target" / "model").iterdir()} <= code(SECTIONS["The model folder"])


def test_every_key_of_the_result_is_named(run):
    result = json.loads((run / "result.json").read_text())
    inner = result["stages"]["target"]
    keys = {*result, *inner, *inner["best"], *inner["evaluations"]["val"], *inner["images"]}
    assert keys - WORDS == set()


def test_every_key_over_seeds_is_named():
    from transferkit.runs.over_seeds import over_seeds, summarise

    named = code(SECTIONS["`result.json`"])
    assert {*summarise(ROOT, []), *vars(over_seeds([1, 2])), "values"} <= named


def test_every_key_of_the_metrics_is_named_or_shown(run):
    (example,) = blocks(page("run_folder"), "json")
    shown = set(json.loads(example.replace("\n", "")))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    train = next(record for record in map(json.loads, lines) if record["stage"] == "target")
    assert shown == set(train)
    assert {key for line in lines for key in json.loads(line)} <= WORDS | shown
    assert set(train["terms"]) == {"l2_sp", "bss"} and set(train["terms"]["l2_sp"]) == {"raw", "weighted", "terms"}


def test_every_key_of_the_early_steps_is_named(run):
    records = [json.loads(line) for line in (run / "early_steps.jsonl").read_text().splitlines()]
    assert [(record["step"], record["split"], record["images"]) for record in records] == [(0, "val", 3), (2, "val", 3)]
    named = code(SECTIONS["`early_steps.jsonl`"])
    assert all(set(record) <= named for record in records)


def test_own_keys_of_the_model_are_named(run):
    config = json.loads((run / "stages" / "target" / "model" / "config.json").read_text())
    assert {"classes", "preprocessing", "source_classes", "recipe", "stage", "seed"} <= set(config["transferkit"])
    assert {"label_names", "transferkit"} <= set(config) and {"label_names", "source_classes"} <= WORDS


def test_the_example_reads_the_metrics(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    exec(blocks(page("run_folder"), "python")[0], {})
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_the_example_opens_the_model(run, tmp_path, monkeypatch, capsys):
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    example = blocks(page("run_folder"), "python")[1].replace("runs/…", run.as_posix())
    exec(example, {})
    assert capsys.readouterr().out.split()[0] in ("sign", "wheel")


def test_every_key_of_a_report_is_named(tmp_path):
    path = transferkit.Report().write(tmp_path, name="a", plugin="p", version="0", parameters={})
    assert set(json.loads(path.read_text())) <= code(SECTIONS["An analysis"])

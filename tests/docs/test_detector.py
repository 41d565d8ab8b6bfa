"""detector.md: the example runs, its summary is what is said of such counts, every key of the file is named."""

from __future__ import annotations

import ast
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit
from transferkit.deploy.interference import Calibration, Guarantee, read_interference
from transferkit.deploy.log_lines import Line
from transferkit.deploy.monitor import Monitor, hypotheses
from transferkit.deploy.summary import Tally, summarise
from transferkit.deploy.watching import sentences
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Register, Registry
from transferkit.testing import check_plugin, tiny_guarded

from .pages import blocks, code, defined, page, sections

PAGE = page("detector")


def test_the_example_says_either_thing(tmp_path, monkeypatch, capsys):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    for detect_p in (0.0, 1.0):
        folder = tiny_guarded(tmp_path / f"model-{detect_p}", detect_p=detect_p)
        exec(blocks(PAGE, "python")[0].replace("runs/…/stages/target/model", folder.as_posix()), {})
    flagged, answered = capsys.readouterr().out.splitlines()
    assert flagged.startswith("do not trust the answer: ") and answered in ("ants", "bees")


def test_the_exported_graphs_and_the_lines_of_preprocessing(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from transferkit.deploy.export import export_model

    folder = tiny_guarded(tmp_path / "model")
    for form in ("onnx", "pt2"):
        exports = export_model(folder, form, inputs=["uint8"], max_batch=2).folder
    ramp = np.add.outer(np.arange(70), np.arange(50))[..., None] * np.array([1, 2, 3])
    Image.fromarray((ramp % 256).astype(np.uint8)).save(exports / "photo.jpg")
    monkeypatch.chdir(exports)
    expected = transferkit.load(folder)
    image = expected.preprocess(Image.open("photo.jpg"))[None]
    wanted, names = expected(image), {}
    onnx, pt2, floats = blocks(sections(PAGE)["Exported"], "python")
    for block in (onnx, pt2):
        exec(block, names)
        np.testing.assert_allclose(torch.as_tensor(names["logits"]).detach(), wanted.logits, atol=1e-5)
        np.testing.assert_allclose(torch.as_tensor(names["score"]).detach(), wanted.score, atol=1e-5)
    exec(floats, names)
    assert len(ast.parse(floats).body) == 9  # an import, and eight of preprocessing
    np.testing.assert_allclose(names["images"], image, atol=1e-6)
    assert names["images"].dtype == np.float32


def test_the_summary_shown_is_what_is_said(tmp_path):
    found = read_interference(tiny_guarded(tmp_path / "model"))
    scores = [i / 500 for i in range(500)]
    found = replace(
        found,
        detect_p=scores[475],
        guarantee=Guarantee(0.05, None, 500, ""),
        calibration=Calibration.of(scores, [1] * 3 + [3] * 497),
    )
    tally = Tally(200, 37)
    tally.named.update({1: 41, 3: 159})
    tally.flagged_named.update({1: 30, 3: 7})
    block = next(block for block in blocks(PAGE, "console") if "--summary" in block)
    shown = block.split("\n", 1)[1]
    assert " ".join(shown.split()) == " ".join(" ".join(summarise(tally, found).sentences).split())


def test_the_alarm_shown_is_what_is_said(tmp_path):
    found = read_interference(tiny_guarded(tmp_path / "model"))
    scores = [i / 500 for i in range(500)]
    calibration = Calibration.of(scores, [1] * 3 + [3] * 497)
    found = replace(found, detect_p=scores[475], guarantee=Guarantee(0.05, None, 500, ""), calibration=calibration)
    monitor = Monitor(hypotheses(found))
    for i in range(2400):
        late = i >= 2000
        monitor.add(Line(i % (5 if late else 22) == 0, 1 if i % (8 if late else 150) == 0 else 3))
    block = blocks(page("alarm"), "console")[0]
    assert " ".join(block.split("\n", 1)[1].split()) == " ".join(" ".join(sentences(monitor, 0.01)).split())


def test_every_key_of_the_file_is_named(tmp_path):
    content = json.loads((tiny_guarded(tmp_path / "model", named=[1]) / "interference.json").read_text())
    said = code(sections(PAGE)["`interference.json`"])
    assert set(content) <= said
    for key in ("score", "guarantee", "calibration", "source_model"):
        assert set(content[key]) <= said
    assert set(content["lingering"][0]) <= said


def test_the_detector_of_ones_own_keeps_its_promises():
    names = defined(next(block for block in blocks(PAGE, "python") if "transferkit_register" in block))
    registry = Registry()
    names["transferkit_register"](Register(registry, Owner("margin", "margin", "0")))
    assert registry.names("detector") == ["margin"]
    check_plugin(names["Margin"])
    score, _ = names["Margin"]().restore({})(None, torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0]]), {})
    assert score.tolist() == [-2.0, 0.0]

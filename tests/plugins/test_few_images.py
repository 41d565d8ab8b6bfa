"""Where next to nothing can be measured, no analyzer writes "nan" into a sentence."""

from __future__ import annotations

import json
import re

import pytest

from tests.golden.situations import FOUR, SITUATIONS, TWO, sure
from tests.golden.test_golden import analysed
from transferkit.analysis.run_analyzers import Analysis, run_analyzer
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.recipe.plugin_use import make
from transferkit.recipe.uses import AnalyzerUse
from transferkit.testing import MadeUpImages, MadeUpModel, made_up_session

WORD = re.compile(r"(?<![\w.])[-+]?(nan|inf)(?!\w)", re.IGNORECASE)


def said(report):
    """Every sentence of a report."""
    return [report["verdict"] or "", *report["notes"], *report["gaps"], *report["captions"].values()]


@pytest.mark.parametrize("name", SITUATIONS)
def test_no_sentence_has_a_nan(name, tmp_path):
    report = json.loads(analysed(name, tmp_path)["report.json"])
    assert not [text for text in said(report) if WORD.search(text)]


SIZES = {"one image": ([0], [0]), "one class": ([0, 0, 0], [1, 1, 1]), "one image of a class": ([0, 1, 2], [0, 1])}
USES = {
    "retention": {},
    "lingering": {"k": 1, "v_lo": 9},
    "bias": {"permutations": 20},
    "data": {"permutations": 19},
    "spectrum": {"batch_size": 2},
    "representation": {},
    "erosion": {"clean": "target", "control": "control"},
    "interference": {"alpha": 0.5, "calibration": 0.9, "composite_classes": 0},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("use", USES)
def test_next_to_no_images(use, size, tmp_path):
    source, target = SIZES[size]
    images = {"source": MadeUpImages(FOUR, source), "target": MadeUpImages(TWO, {"train": target, "val": target})}
    of_source = {"source": sure(source, 4), "target": {"train": sure(target, 4), "val": sure(target, 4)}}
    answers = {"source": sure([0] * len(source), 2), "target": {"train": sure(target, 2), "val": sure(target, 2)}}
    models = {"source": MadeUpModel(FOUR, of_source), "target": MadeUpModel(TWO, answers, of_source)}
    more = {}
    if use == "erosion":
        models["source"] = MadeUpModel(TWO, answers)
        stages = [
            {"name": name, "start": "scratch", "dataset": "target", "epochs": 1} for name in ("target", "control")
        ]
        more = {"recipe": {"stages": stages, "stage": "target"}, "stages": {"control": MadeUpModel(TWO, answers)}}
    session = made_up_session(tmp_path / "out", images=images, models=models, **more)
    chosen = AnalyzerUse.model_validate({"use": use} | USES[use])
    (plugin,) = make([chosen], "analyzer", installed())
    try:
        run_analyzer(Analysis(session.workbench, plugin, session.out, parameters={}, peers={}, run=session.run))
    except InputError as error:
        assert not WORD.search(str(error))
        return
    report = json.loads((session.out / "report.json").read_text(encoding="utf-8"))
    assert not [text for text in said(report) if WORD.search(text)]

"""The packages of `examples`, installed as a stranger's are, from another folder."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.test_third_party import describe, recipe, transferkit  # noqa: F401
from transferkit.report import Report
from transferkit.testing import MadeUpImages, MadeUpModel, made_up_session

ROOT = Path(__file__).resolve().parents[1]
NAME = "transferkit_calibration"


@pytest.fixture
def calibration(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / NAME))
    import transferkit_calibration.analyzer as found

    yield found
    for module in [name for name in sys.modules if name.startswith(NAME)]:
        del sys.modules[module]


def analysed(calibration, folder, logits, labels, **options) -> Report:
    images = {"target": MadeUpImages(["a", "b"], labels)}
    session = made_up_session(folder, images=images, models={"target": MadeUpModel(["a", "b"], {"target": logits})})
    return calibration.Calibration(**options).analyze(session)


def test_the_error_by_hand(calibration, tmp_path):
    """Logits 0 and ln 3 are the probabilities 1/4 and 3/4; one of two is right at 3/4, both at 9/10 (0 and ln 9)."""
    logits = [[0, math.log(3)]] * 2 + [[math.log(9), 0]] * 2
    found = analysed(calibration, tmp_path, logits, [1, 0, 0, 0], bins=4, bootstrap=0)
    # 3/4 and 9/10 share the last of four bins: three of four are right, at 0.825 on average
    assert found.metrics["error"] == pytest.approx(0.825 - 0.75, abs=1e-6)
    assert found.metrics["confidence"] == pytest.approx(0.825, abs=1e-6) and found.metrics["top1"] == 0.75
    assert math.isnan(found.metrics["error_low"])
    found = analysed(calibration, tmp_path, logits, [1, 0, 0, 0], bins=5, bootstrap=0)  # 0.75 and 0.9 apart
    assert found.metrics["error"] == pytest.approx(0.5 * 0.25 + 0.5 * 0.1, abs=1e-6)
    assert [row[:3] for row in found.tables["reliability"].rows] == [[0.6, 0.8, 2], [0.8, 1.0, 2]]


def test_exact_probabilities_are_off_by_chance_alone(calibration, tmp_path):
    """What the README says of a thousand images."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 1000)
    logits = np.stack([np.log(sure / (1 - sure)), np.zeros(1000)], axis=1)
    found = analysed(calibration, tmp_path, logits.tolist(), (rng.random(1000) > sure).astype(int).tolist())
    assert found.metrics["error_low"] < found.metrics["error"] < 0.06


def test_it_runs_from_another_folder(recipe, tmp_path):  # noqa: F811
    site = tmp_path / "site"
    shutil.copytree(ROOT / "examples" / NAME / NAME, site / NAME)
    describe(site, NAME, "calibration")
    content = yaml.safe_load(recipe.read_text()) | {"analyses": [{"use": "calibration", "bins": 4}]}
    content["stages"][0].pop("regularizers")
    recipe.write_text(yaml.safe_dump(content))
    done = transferkit(site, "run", recipe, "--out", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    run_dir = Path(json.loads(done.stdout)["run_dir"])
    report = json.loads((run_dir / "analyses/calibration/report.json").read_text())
    assert 0 <= report["metrics"]["error_low"] <= report["metrics"]["error_high"] <= 1
    assert "calibration error" in (run_dir / "report.html").read_text()
    assert (run_dir / "analyses/calibration/reliability.svg").is_file()
    assert "How far are probabilities from the truth?" in transferkit(site, "plugins", "show", "calibration").stdout

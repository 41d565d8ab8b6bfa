"""The verb: its answers, its exit codes, its options, and that asking for help loads nothing heavy."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from transferkit.cli.audit import read_settings
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry
from transferkit.report import Report
from transferkit.testing import tiny_model


@dataclass
class Counting:
    """How many source images there are."""

    scale: int = 1
    broken: bool = False
    metrics: ClassVar[tuple[str, ...]] = ("images", "unmeasured")
    standard_audit: ClassVar[int] = 10

    def analyze(self, session):
        if self.broken:
            raise ZeroDivisionError("by design")
        count = len(session.predictions("target"))
        return Report({"images": self.scale * count, "unmeasured": math.nan}, verdict=f"There are {count} images.")


@pytest.fixture
def audit(cli, monkeypatch, tmp_path, model_folder, images):
    """The verb on the tiny model of ants and bees; the source knows the same two classes and a third."""
    registry = Registry()
    registry.add("analyzer", "counting", Counting, Owner("test", "test-plugins", "1.0"))
    monkeypatch.setattr("transferkit.api.installed", lambda: registry)
    source = save_model(tmp_path / "source", tiny_model(["ants", "bees", "cats"]), None, {})
    given = ["--source", source, "--source-data", images, "--target-data", images, "--out", tmp_path / "out"]
    return lambda *more: cli("audit", model_folder, *given, *more)


def test_for_people(audit):
    result = audit("--fail-on", "images > 99")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "counting: There are 6 images." in lines
    assert not any(line.split()[:1] == ["analysis"] for line in lines)  # the sentence has the number
    assert "  passed: images > 99 does not hold (counting.images = 6)" in lines
    assert any(line.startswith("report   ") and line.endswith("report.html") for line in lines)
    numbers = next(line.split("  ")[-1] for line in lines if line.startswith("numbers  "))
    assert json.loads(Path(numbers).read_text())["metrics"]["counting"]["images"] == 6
    assert "Be careful:" in lines  # random weights are near chance
    assert "analysis counting" in result.stderr and "analysis counting" not in result.stdout


def test_for_machines(audit):
    result = audit("--json", "--quiet", "--set", "counting.scale=10")
    found = json.loads(result.stdout)
    assert found["analyses"] == {"counting": {"images": 60.0, "unmeasured": None}}
    assert found["run_dir"] and found["status"] == "done" and found["failed"] is False
    assert found["findings"] == [] and found["errors"] == [] and found["warnings"]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("condition", "code"), [("images > 5", 3), ("images > 6", 0), ("unmeasured > 5", 3), ("images<1 or images>5", 3)]
)
def test_exit_code_3_is_for_findings(audit, condition, code):
    result = audit("--fail-on", condition, "--fail-on", "images > 100", "--json")
    assert result.exit_code == code
    found = json.loads(result.stdout)
    assert found["failed"] is (code == 3)
    assert json.loads(Path(found["run_dir"], "result.json").read_text())["status"] == "done"


def test_a_broken_analysis_is_exit_code_1(audit):
    result = audit("--set", "counting.broken=true", "--fail-on", "images > 5")
    assert result.exit_code == 1
    assert "Broken:" in result.stdout and "by design" in result.stdout
    assert "FAILED: images > 5 cannot be checked" in result.stdout


def test_settings():
    assert read_settings(["lingering.k=3", "lingering.p_lo=1e-2", "other.names=[a, b]", "other.on=true"]) == {
        "lingering": {"k": 3, "p_lo": 0.01},
        "other": {"names": ["a", "b"], "on": True},
    }
    for text in ("k=3", "lingering.k", "lingering.=3", ".k=3", "lingering=3"):
        with pytest.raises(InputError, match=r"write ANALYSIS\.OPTION=VALUE"):
            read_settings([text])
    with pytest.raises(InputError, match=r"--set a.b="):
        read_settings(["a.b=[1, 2"])


def test_mistakes_are_sentences(audit, tmp_path):
    for arguments, words in [
        (["--set", "counting.skale=3"], 'did you mean "scale"'),
        (["--set", "counting.scale=many"], "a whole number is needed"),
        (["--analyses", "counting,cuonting"], 'did you mean "counting"'),
        (["--fail-on", "image > 3"], 'did you mean "images"'),
        (["--source-labels", tmp_path / "none.csv"], "cannot read the class list"),
        (["--baseline", "nobody"], 'baseline model  timm has no model called "nobody"'),
    ]:
        with pytest.raises(InputError, match=words):
            audit(*arguments)
    assert not (tmp_path / "out").exists()


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom transferkit.cli import app\n"
        "try:\n    app(['audit', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--fail-on" in done.stdout

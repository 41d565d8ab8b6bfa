"""Three packages that a stranger wrote, installed as pip leaves them, and run from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "examples" / "third_party"
Runs = dict[str, tuple[Path, dict[str, Any]]]
KINDS = {"side_convolution": "adapter", "even_rows": "edit", "flat_logits": "detector"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three packages and their metadata, as an installation has it."""
    site = tmp_path_factory.mktemp("site")
    for source in sorted(PLACE.glob("transferkit-*")):
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
        name, version = project["project"]["name"], project["project"]["version"]
        for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
            shutil.copytree(source / package, site / package)
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        entries = project["project"]["entry-points"]["transferkit"]
        (info / "entry_points.txt").write_text(
            "[transferkit]\n" + "".join(f"{plugin} = {module}\n" for plugin, module in entries.items())
        )
    return site


def transferkit(site: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "transferkit", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, check=False, timeout=600
    )


def recipe(name: str, folder: Path) -> Path:
    return Path(shutil.copy(PLACE / f"transferkit-{name.replace('_', '-')}" / "recipe.yaml", folder / f"{name}.yaml"))


def test_all_three_are_listed_and_described(site: Path, tmp_path: Path) -> None:
    listed = transferkit(site, tmp_path, "plugins", "--json")
    assert listed.returncode == 0, listed.stderr
    found = {row["name"]: (row["kind"], row["status"]) for row in json.loads(listed.stdout)}
    for name, kind in KINDS.items():
        assert found[name] == (kind, "ok")
        shown = transferkit(site, tmp_path, "plugins", "show", name)
        assert shown.returncode == 0 and f"# {name}" in shown.stdout, shown.stderr


def test_their_own_tests_pass(site: Path, tmp_path: Path) -> None:
    for name in KINDS:
        shutil.copy(PLACE / f"transferkit-{name.replace('_', '-')}" / f"test_{name}.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", KINDS)
def test_their_recipes_are_planned(site: Path, name: str, tmp_path: Path) -> None:
    planned = transferkit(site, tmp_path, "plan", recipe(name, tmp_path))
    assert planned.returncode == 0, planned.stderr
    assert name in planned.stdout


@pytest.fixture(scope="module")
def runs(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """{name: the run folder of its recipe, and the content of result.json}; one process runs them all."""
    folder = tmp_path_factory.mktemp("runs")
    code = (
        "import sys; from transferkit.cli import main\n"
        "for name in sys.argv[1:]:\n"
        "    try: main(['run', f'{name}.yaml', '--out', name, '--json', '--quiet'])\n"
        "    except SystemExit as end: assert not end.code, name\n"
    )
    for name in KINDS:
        recipe(name, folder)
    command, environment = [sys.executable, "-c", code, *KINDS], {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {}
    for name in KINDS:
        (run_dir,) = (folder / name).glob("*/*")
        result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
        assert result["status"] == "done" and set(result["stages"]) == {"before", "target"}
        found[name] = run_dir, result
    return found


def test_the_adapter_trains_and_is_merged(runs: Runs) -> None:
    """The model folder has plain layers, opens in plain timm, and the layers that were adapted have changed."""
    folder, _ = runs["side_convolution"]
    before, after = (
        load_file(folder / "stages" / name / "model" / "model.safetensors") for name in ("before", "target")
    )
    assert before.keys() == after.keys()
    adapted = [name for name in after if name.startswith("layer") and after[name].ndim == 4]
    assert adapted and all(not before[name].equal(after[name]) for name in adapted)
    model = timm.create_model(f"local-dir:{folder / 'stages' / 'target' / 'model'}", pretrained=True)
    assert not [name for name, _ in model.named_parameters() if name.endswith(".beside")]


def test_the_edit_changes_the_classifier_and_is_written_down(runs: Runs) -> None:
    _, result = runs["even_rows"]
    (edit,) = result["stages"]["target"]["edits"]
    assert edit["use"] == "even_rows" and edit["changed"] == ["fc.weight"]
    assert edit["before"]["val"]["loss"] != edit["after"]["val"]["loss"]


def test_the_detector_is_taken_by_a_run_and_scores_images(site: Path, runs: Runs, tmp_path: Path) -> None:
    """In the run of two short stages no class lingers; among answers that are made up some do, and it is judged."""
    folder, _ = runs["flat_logits"]
    report = json.loads((folder / "analyses" / "interference" / "report.json").read_text(encoding="utf-8"))
    assert [one["use"] for one in report["parameters"]["detectors"]] == ["flat_logits"]
    code = (
        "import json; from pathlib import Path; from tests.golden import situations, test_golden\n"
        "made = situations.SITUATIONS['interference']\n"
        "def with_it(folder):\n"
        "    situation = made(folder)\n"
        "    situation.use['detectors'] = ['flat_logits', 'energy']\n"
        "    return situation\n"
        "situations.SITUATIONS['interference'] = with_it\n"
        f"found = test_golden.analysed('interference', Path({str(tmp_path)!r}) / 'made-up')\n"
        "table = json.loads(found['report.json'])['tables']['comparison']\n"
        "rows = {row[0]: row[1:] for row in table['rows']}\n"
        "assert rows['little energy'] == rows['energy'], rows\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    (tmp_path / "made-up").mkdir()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

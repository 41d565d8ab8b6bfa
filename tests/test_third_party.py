"""A stranger's plugins, installed from another folder: one works, one breaks on import, all mistakes are answered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cost import cpu_seconds

ROOT = Path(__file__).resolve().parents[1]
SPREAD = '''
from dataclasses import dataclass
import transferkit

@dataclass
class Spread:
    """Reward features that vary across the batch."""
    floor: float = 0.0

    def penalty(self, features):
        print("left in by its author")
        return -features.var(dim=0, unbiased=False).clamp(min=self.floor).mean()

@transferkit.hookimpl
def transferkit_register(register):
    register.regularizer("spread", Spread)
'''


def install(site: Path, name: str, code: str) -> None:
    """What pip leaves behind: a module, and metadata with an entry point."""
    (site / f"{name}.py").write_text(code)
    describe(site, name, name.removeprefix("transferkit_"))


def describe(site: Path, package: str, entry: str) -> None:
    info = site / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[transferkit]\n{entry} = {package}\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    place = tmp_path / "site"
    place.mkdir()
    install(place, "transferkit_spread", SPREAD)
    install(place, "transferkit_broken", "import a_module_that_nobody_has\n")
    return place


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "third.yaml"
    stage = {"name": "s", "start": "scratch", "dataset": "w", "steps": 2, "batch_size": 4, "workers": 0}
    stage["regularizers"] = [{"use": "spread", "weight": 0.01, "floor": 0.1}]
    content = {
        "name": "third",
        "device": "cpu",
        "threads": 1,
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 32}},
        "datasets": {"w": {"world": {"kind": "target", "train": 4, "val": 2, "size": 32}}},
        "stages": [stage],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def transferkit(site: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "transferkit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site, check=False, timeout=300)


def test_it_is_listed_and_the_broken_one_is_named(site: Path) -> None:
    listed = transferkit(site, "plugins", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "transferkit-spread" in listed.stdout
    assert "a_module_that_nobody_has" in listed.stdout
    shown = transferkit(site, "plugins", "show", "spread")
    assert shown.returncode == 0
    assert "Reward features that vary across the batch." in shown.stdout
    assert "floor" in shown.stdout


def test_it_works_in_a_recipe(site: Path, recipe: Path, tmp_path: Path) -> None:
    done = transferkit(site, "run", recipe, "--out", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    run_dir = Path(json.loads(done.stdout)["run_dir"])
    assert "left in by its author" in done.stderr
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    terms = lines[0]["terms"]["spread"]
    assert terms["raw"] < 0
    assert terms["weighted"] == pytest.approx(0.01 * terms["raw"])


@pytest.mark.parametrize(
    ("override", "answers"),
    [
        ("stages.s.regularizers.spread.flor=1", ["spread", "no such option", 'did you mean "floor"?']),
        ("+stages.s.regularizers={use: spred, weight: 1}", ['no regularizer called "spred"', 'did you mean "spread"?']),
        (
            "+stages.s.regularizers={use: broken, weight: 1}",
            ['no regularizer called "broken"', "a_module_that_nobody_has"],
        ),
    ],
)
def test_a_misspelt_option_or_name_is_answered(site: Path, recipe: Path, override: str, answers: list[str]) -> None:
    planned = transferkit(site, "plan", recipe, override)
    assert planned.returncode == 2
    for answer in answers:
        assert answer in planned.stderr
    assert "Traceback" not in planned.stderr


@pytest.mark.parametrize(
    ("wrong", "right", "answer"),
    [
        ("def penalty(self, featres)", "def penalty(self, features)", 'did you mean "features"'),
        ("def penaltie(self, features)", "def penalty(self, features)", 'did you mean "penalty"'),
        ("def transferkit_registre(", "def transferkit_register(", 'did you mean "transferkit_register"'),
    ],
)
def test_a_misspelt_argument_or_hook_is_answered(site: Path, recipe: Path, wrong: str, right: str, answer: str) -> None:
    module = site / "transferkit_spread.py"
    module.write_text(module.read_text().replace(right, wrong))
    planned = transferkit(site, "plan", recipe)
    assert planned.returncode == 2
    assert answer in planned.stderr
    assert "Traceback" not in planned.stderr


@pytest.mark.parametrize(("verb", "seconds"), [("--help", 0.5), ("plan", 1.0), ("plugins", 1.0)])
def test_listing_and_planning_are_quick_and_leave_torch_alone(
    site: Path, recipe: Path, tmp_path: Path, verb: str, seconds: float
) -> None:
    code = (
        "import sys; from transferkit.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: sys.exit(end.code or 3 * ('torch' in sys.modules))"
    )
    words = [verb, str(recipe)] if verb == "plan" else [verb]
    assert cpu_seconds(code, *words, folder=tmp_path, path=site, enough=seconds) < seconds


def test_analyzers_that_ship_are_what_a_stranger_could_have_written(tmp_path: Path) -> None:
    """Moved to another folder under other names, with those that ship switched off, they write the same reports."""
    names, site = ["bias", "representation"], tmp_path / "site"
    for name in names:
        package = f"strangers_{name}"
        shutil.copytree(ROOT / "plugins" / f"transferkit_{name}", site / package)
        for path in (site / package).glob("*.py"):
            path.write_text(path.read_text(encoding="utf-8").replace(f"transferkit_{name}", package), encoding="utf-8")
        describe(site, package, name)
    code = (
        "import sys; from pathlib import Path; from tests.golden.test_golden import HERE, analysed\n"
        "from tests.golden.compare import differences\n"
        f"for name in {names}:\n"
        f"    place = Path({str(tmp_path)!r}) / name\n"
        "    place.mkdir()\n"
        "    found = analysed(name, place)\n"
        "    stored = {path.name: path.read_bytes().decode() for path in (HERE / name).iterdir()}\n"
        "    assert f'strangers_{name}' in sys.modules and f'transferkit_{name}' not in sys.modules\n"
        "    assert found.keys() == stored.keys()\n"
        "    assert not [wrong for file in stored for wrong in differences(file, stored[file], found[file])[0]]\n"
    )
    off = ",".join(f"transferkit:{name}" for name in names)
    environment = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "TRANSFERKIT_DISABLE_PLUGINS": off}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=site, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

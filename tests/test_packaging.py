"""The wheel holds what the source tree holds: packages, plugins with their cards, templates, entry points."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel built from this tree."""
    out = tmp_path_factory.mktemp("wheel")
    code = f"import os, hatchling.build as b; os.chdir({str(ROOT)!r}); print(b.build_wheel({str(out)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_every_module_and_every_data_file_is_in_it(wheel: set[str]) -> None:
    for top, base in ((ROOT / "transferkit", ROOT), (ROOT / "plugins", ROOT / "plugins")):
        for path in top.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(base).as_posix() in wheel


def test_nothing_else_is_in_it(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert all(top.startswith("transferkit") for top in tops), tops


def test_every_plugin_has_an_entry_point_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = set(project["entry-points"]["transferkit"].values())
    assert modules == {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}


def test_pins_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert all("==" in pin and "/" not in pin and "@" not in pin for pin in pins)


def test_no_file_is_too_long() -> None:
    for path in [*(ROOT / "transferkit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        limit = 640 if path == ROOT / "transferkit" / "statistics.py" else 400  # all of statistics is one file
        assert len(path.read_text(encoding="utf-8").splitlines()) <= limit, path


def test_type_checkers_read_the_annotations_of_every_package(wheel: set[str]) -> None:
    packages = {name.split("/")[0] for name in wheel if name.count("/") == 1 and name.endswith("/__init__.py")}
    assert "transferkit" in packages and "transferkit_bss" in packages
    assert {f"{package}/py.typed" for package in packages} <= wheel

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import transferkit
from transferkit.errors import InputError


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    stage = {"start": "scratch", "dataset": "w", "steps": 2, "batch_size": 4, "workers": 0}
    content = {
        "name": "api",
        "device": "cpu",
        "threads": 1,
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 32}},
        "datasets": {"w": {"world": {"kind": "target", "train": 4, "val": 2, "size": 32}}},
        "stages": [stage | {"name": "one"}, stage | {"name": "two", "start": "one"}],
    }
    path = tmp_path / "api.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_run_from_python_with_overrides(recipe: Path, tmp_path: Path) -> None:
    overrides = {"stages.one.steps": 3, "stages.two.optimizer": {"lr": 1e-4}}
    result = transferkit.run(recipe, out=tmp_path / "runs", quiet=True, **overrides)
    assert result.status == "done"
    assert result.stages["one"]["steps"] == 3
    saved = yaml.safe_load((result.run_dir / "recipe.yaml").read_text())
    assert saved["stages"][1]["optimizer"]["lr"] == 1e-4
    assert result.content["stages"] is result.stages


def test_some_stages_only(recipe: Path, tmp_path: Path) -> None:
    result = transferkit.run(recipe, out=tmp_path / "runs", quiet=True, stages=["one"])
    assert list(result.stages) == ["one"]


def test_wrong_input_leaves_nothing_behind(recipe: Path, tmp_path: Path) -> None:
    for wrong in ({"stages.one.optimizer.name": "adamww"}, {"stages.one.epoch": 3}):
        with pytest.raises(InputError):
            transferkit.run(recipe, out=tmp_path / "runs", quiet=True, **wrong)
    assert not (tmp_path / "runs").exists()


def test_the_public_surface_is_what_it_says() -> None:
    for name in transferkit.__all__:
        assert getattr(transferkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        transferkit.nope  # noqa: B018


def test_importing_it_imports_neither_torch_nor_pydantic() -> None:
    code = "import sys, transferkit; sys.exit(bool({'torch', 'timm', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

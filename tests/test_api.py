from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from scipy import stats

import transferkit
from transferkit.api import RunResult
from transferkit.cli.summary import show_result
from transferkit.errors import InputError
from transferkit.plugins.registry import installed


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


def test_a_recipe_may_be_a_dict_with_paths_from_the_working_directory(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"extends": Path("api.yaml"), "name": "given", "seed": 4}
    for split in ("train", "val"):
        for name in ("ants", "bees"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (40, 36), (40 * i, 200 if name == "ants" else 20, 90)).save(
                    tmp_path / "photos" / split / name / f"{i}.png"
                )
    content["datasets"] = {"w": {"world": None, "folder": "photos"}}
    result = transferkit.run(content, quiet=True, stages=["one"], **{"stages.one.steps": 1})
    saved = yaml.safe_load((result.run_dir / "recipe.yaml").read_text())
    assert (saved["name"], saved["seed"], saved["stages"][0]["steps"]) == ("given", 4, 1)
    assert saved["datasets"]["w"]["folder"] == str(tmp_path / "photos")
    assert result.run_dir.parent == Path("runs/given")
    assert (
        transferkit.load(result.run_dir).classes == transferkit.load(result.run_dir, "one").classes == ["ants", "bees"]
    )
    with pytest.raises(InputError, match=r'the stage "two" of .* (does not exist|has not finished)'):
        transferkit.load(result.run_dir, stage="two")


def test_errors_of_a_dict_say_where_and_speak_of_no_command_line(recipe: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    content["stages"][0]["preccision"] = "bf16"
    with pytest.raises(InputError) as caught:
        transferkit.run(content, **{"stages.two.batch_sise": 4})
    assert str(caught.value) == (
        'recipe  stages.one.preccision: there is no such key\n    did you mean "precision"?\n'
        "argument: stages.two.batch_sise=4  stages.two.batch_sise: there is no such key\n"
        '    did you mean "batch_size"?\n2 problems; nothing was started.'
    )
    with pytest.raises(InputError, match=r"^recipe  <object .*> \(an object\) cannot stand in a recipe"):
        transferkit.run({**content, "seed": object()})
    with pytest.raises(InputError, match=r"^accept  there is nothing called"):
        done = tmp_path / "runs"
        done.mkdir()
        for name in ("result.json", "recipe.yaml"):
            (done / name).write_text("{}")
        transferkit.resume(done, accept="dat")


def test_some_stages_only(recipe: Path, tmp_path: Path) -> None:
    result = transferkit.run(recipe, out=tmp_path / "runs", quiet=True, stages=["one"])
    assert list(result.stages) == ["one"]


def test_wrong_input_leaves_nothing_behind(recipe: Path, tmp_path: Path) -> None:
    for wrong in ({"stages.one.optimizer.name": "adamww"}, {"stages.one.epoch": 3}):
        with pytest.raises(InputError):
            transferkit.run(recipe, out=tmp_path / "runs", quiet=True, **wrong)
    assert not (tmp_path / "runs").exists()


def test_repeated_runs_summarise_their_analyses(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(recipe.read_text())
    content["datasets"]["s"] = {"world": {"kind": "source", "train": 2, "val": 2, "size": 32}}
    content["stages"][0] |= {"dataset": "s", "batch_size": 12}
    content["stages"][1] |= {"evaluate": ["w"]}
    content["analyses"] = [{"use": "retention", "dataset": "s"}]
    recipe.write_text(yaml.safe_dump(content | {"repeat": 3, "seed": 7}))
    result = transferkit.run(recipe, out=tmp_path / "runs", quiet=True)
    saved = json.loads((result.run_dir / "result.json").read_text())
    assert saved["status"] == "done" and saved["analyses"] == {}
    assert {"status", "run_dir", "wanted", "stages", "analyses", "repeats"} < set(saved)

    folders = {seed: result.run_dir / "repeats" / f"seed-{seed}" for seed in ("7", "8", "9")}
    reports = [json.loads((one / "analyses/retention/report.json").read_text())["metrics"] for one in folders.values()]
    assert list(saved["metrics"]) == ["retention"] and list(saved["metrics"]["retention"]) == list(reports[0])
    declared = installed().get("analyzer", "retention").declared.metrics
    shares = {key for metric in declared if metric.unit == "share" for key in metric.keys}
    for name, found in saved["metrics"]["retention"].items():
        values = [report[name] for report in reports]
        assert found["values"] == dict(zip(folders, values, strict=True))
        measured = [value for value in values if value is not None]
        assert found["n"] == len(measured)
        if len(measured) == 3:
            low, high = stats.t.interval(0.95, 2, loc=sum(measured) / 3, scale=stats.sem(measured) or 1e-300)
            if name in shares:  # which no interval leaves
                low, high = max(low, 0.0), min(high, 1.0)
            assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))

    stages = [json.loads((one / "result.json").read_text())["stages"]["two"] for one in folders.values()]
    for key in ("best", "last"):
        losses = [stage[key]["loss"] for stage in stages]
        assert saved["stages"]["two"][key]["loss"] == pytest.approx(sum(losses) / 3)
        assert saved["stages"]["two"][key]["sd"]["loss"] == pytest.approx(statistics.stdev(losses))
    elsewhere = saved["stages"]["two"]["evaluations"]["w"]
    assert elsewhere["top1"] == pytest.approx(sum(stage["evaluations"]["w"]["top1"] for stage in stages) / 3)
    assert elsewhere["n"] == 3 and elsewhere["images"] == 4

    assert "Analysis retention, over 3 seeds" in (result.run_dir / "report.html").read_text()
    show_result(RunResult.of(saved))
    out = capsys.readouterr().out
    block = out[out.index("retention over 3 seeds") :].split("\n\n")[0].splitlines()
    assert block[0] == "retention over 3 seeds: mean ± sd (95 % interval of the mean over seeds)"
    assert block[-1].endswith("more in report.html") and len(block) <= 10
    assert block[1].strip().startswith("top-1 of the source model") and not [
        line for line in block if "_low" in line or "_high" in line
    ]


def test_the_public_surface_is_what_it_says() -> None:
    for name in transferkit.__all__:
        assert getattr(transferkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        transferkit.nope  # noqa: B018


def test_importing_it_imports_neither_torch_nor_pydantic() -> None:
    code = "import sys, transferkit; sys.exit(bool({'torch', 'timm', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Small files of a run folder that are empty, cut, of another type, or foreign: a sentence, or a part left out."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from transferkit.analysis.session import RunView
from transferkit.cli import app
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.reporting.html import write_report
from transferkit.runs.record import NUMBER, TEXT, WHOLE, fitting

from .made_up_runs import BIAS, RECIPE, RESULT, metrics, write_audit, write_run

ODD: list[Any] = [
    None, True, 0, -1, 5, 10**400, 1e308, float("nan"), float("inf"), "", "x", "<b>", [], [[]], [1, "a"], {}, {"": {}},
    {"a": [{}]}, [None], "\ud800", "\x00",
]  # fmt: skip


def recorded(folder: Path) -> Path:
    """A run with metrics, an analysis, a list of corruptions and evaluations, each file with something in it."""
    result = copy.deepcopy(RESULT) | {"analyses": {"bias": "analyses/bias/report.json"}, "seconds": 3.0}
    stage = result["stages"]["target"]
    stage["evaluations"] = {"val": {"top1": 0.9, "top5": 1.0, "loss": 0.2, "images": 153, "per_class": {"a": 0.5}}}
    run = write_run(folder, result, lines=metrics())
    BIAS.write(run / "analyses" / "bias", name="bias", plugin="bias", version="1", parameters={"k": 1})
    planted = run / "stages" / "target" / "corruptions.csv"
    planted.parent.mkdir(parents=True)
    planted.write_text("dataset,split,corruption\nants,train,patch\n")
    return run


def look(run: Path) -> None:
    """Everything that reads a finished run. Raises InputError, and nothing else."""
    for verb in (["compare", str(run), "--json"], ["compare", str(run)]):
        done = CliRunner().invoke(app, verb)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            assert isinstance(done.exception, InputError), (verb, done.exception)
    text = write_report(run).read_text(encoding="utf-8")
    assert text.endswith("</html>\n")


def replaced(value: Any, rng: random.Random) -> Any:
    """A JSON value with one part of it, anywhere, turned into something else, removed, or given twice."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(ODD)
    value = copy.copy(value)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.1:
        del value[key]
    else:
        value[key] = replaced(value[key], rng)
    return value


@pytest.mark.parametrize("name", ["result.json", "env.json", "analyses/bias/report.json"])
def test_any_value_may_be_of_another_kind(tmp_path, name):
    run = recorded(tmp_path / "run")
    whole, rng = json.loads((run / name).read_text()), random.Random(name)
    for _ in range(45):
        content = replaced(whole, rng)
        (run / name).write_text(json.dumps(content))
        try:
            look(run)
        except InputError as error:
            assert name in str(error)


def test_any_line_and_any_recipe(tmp_path):
    run, rng = recorded(tmp_path / "run"), random.Random(4)
    recipe = (run / "recipe.yaml").read_text()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    for _ in range(30):
        foreign = [json.dumps(replaced(json.loads(rng.choice(lines)), rng)) for _ in range(3)]
        (run / "metrics.jsonl").write_text("\n".join([*lines, *foreign]))
        (run / "recipe.yaml").write_text(json.dumps(replaced(RECIPE, rng)))
        look(run)
    (run / "recipe.yaml").write_text(recipe)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"3", b'"x"', b"\xff\xfe{", b"[" * 5000, b"{}\x00"])
@pytest.mark.parametrize(
    "name",
    ["env.json", "analyses/bias/report.json", "recipe.yaml", "metrics.jsonl", "stages/target/corruptions.csv"],
)
def test_a_file_that_is_something_else(tmp_path, name, content):
    run = recorded(tmp_path / "run")
    (run / name).write_bytes(content)
    look(run)


def test_what_is_left_out_is_said(tmp_path):
    run = recorded(tmp_path / "run")
    (run / "env.json").write_text("[1]")
    (run / "recipe.yaml").write_text("name: [")
    report = json.loads((run / "analyses" / "bias" / "report.json").read_text())
    (run / "analyses" / "bias" / "report.json").write_text(json.dumps(report | {"metrics": [1], "notes": "text"}))
    page = write_report(run).read_text()
    assert "env.json is damaged: it holds a list, not an object" in page
    assert "recipe.yaml is left out: the [ that begins here is never closed" in page
    assert "bias/report.json.metrics is left out: a mapping is expected there, not [1]" in page
    assert "bias/report.json.notes is left out: a list is expected there" in page
    said = CliRunner().invoke(app, ["compare", str(run)]).stderr
    assert "env.json is damaged" in said and "recipe.yaml is left out" in said


def test_a_damaged_audit(tmp_path):
    rng = random.Random(9)
    audit = write_audit(tmp_path / "audit", {"bias": BIAS})
    whole = json.loads((audit / "audit.json").read_text())
    for _ in range(40):
        (audit / "audit.json").write_text(json.dumps(replaced(whole, rng)))
        assert write_report(audit).read_text().endswith("</html>\n")


def test_history_says_which_line_is_damaged(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "target", "step": 2}\n{"stage": "target", "st')
    (tmp_path / "early_steps.jsonl").write_text('{"stage": "target", "step": 1}\n{"stage": "other", "step": 0}\n')
    recipe = SimpleNamespace(stages=[SimpleNamespace(name="target")])
    view = RunView(recipe, "target", SimpleNamespace(path=tmp_path), lambda name: None)  # type: ignore[arg-type]
    assert [record["step"] for record in view.history()] == [1, 2]
    for foreign in ("[]", "3", "{}", '{"stage": 1, "step": 2}', "{", "null"):
        (tmp_path / "early_steps.jsonl").write_text(f'{foreign}\n{{"stage": "target", "step": 1}}\n')
        with pytest.raises(InputError, match=r"early_steps.jsonl is damaged: line 1"):
            view.history()


def test_resuming_from_a_damaged_recipe_is_a_sentence(tmp_path):
    run, rng = recorded(tmp_path / "run"), random.Random(5)
    text = (run / "recipe.yaml").read_bytes()
    for _ in range(40):
        at = rng.randrange(len(text))
        (run / "recipe.yaml").write_bytes(text[:at] + bytes(rng.sample(range(256), 2)))
        with pytest.raises(InputError):
            load_recipe(run / "recipe.yaml")


def test_fitting_keeps_what_fits():
    shape = {"a": NUMBER, "b": [TEXT], "c": {...: {"n": WHOLE}}}
    problems: list[str] = []
    value = {"a": True, "b": ["x", 1, None], "c": {"k": {"n": 1.5, "other": [1]}, "l": {"n": 2}, "m": 3}, "d": object}
    assert fitting(value, shape, "f", problems) == {
        "a": None,
        "b": ["x", None, None],
        "c": {"k": {"n": None, "other": [1]}, "l": {"n": 2}, "m": None},
        "d": object,
    }
    assert [text.partition(" ")[0] for text in problems] == ["f.a", "f.b[1]", "f.c.k.n", "f.c.m"]

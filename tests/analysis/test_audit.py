"""`transferkit.audit`: its folder, its record, what is refused, and how it ends."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
import torch
from typer.testing import CliRunner

import transferkit.api
from transferkit.api import resume
from transferkit.cli import app
from transferkit.errors import InputError, Interrupted
from transferkit.model.folder import save_model
from transferkit.plugins.distributions import Owner
from transferkit.testing import tiny_model

from .audit_world import NOT_GIVEN, SOURCE, Counting, Optional, images


def nothing_left(tmp_path):
    return not (tmp_path / "out").exists()


def test_the_folder_and_the_answer(audit, world, tmp_path):
    result = audit(baseline=world / "baseline", options={"counting": {"scale": 2}}, seed=5)
    assert list(result.analyses) == ["first", "counting"]  # by their places, not by their names
    assert result.analyses["first"] == {"scale": 2.0}
    numbers = result.analyses["counting"]
    assert (numbers["images"], numbers["classes"], numbers["models"]) == (18.0, 4.0, 3.0)
    assert math.isnan(numbers["unmeasured"])
    assert result.verdicts == {"counting": "9 images."}
    assert not result.failed and not result.errors and not result.findings
    folder = result.run_dir
    assert folder.parent == tmp_path / "out" / "audit"
    found = {path.name for path in folder.iterdir()}
    assert found - {".lock"} == {"analyses", "audit.json", "env.json", "report.html", "result.json", "run.log", "tb"}
    assert (folder / "analyses" / "counting" / "all.csv").is_file()
    content = json.loads((folder / "result.json").read_text())
    assert content["status"] == "done" and content["run_dir"] == str(folder)
    assert content["analyses"] == {name: f"analyses/{name}/report.json" for name in ("first", "counting")}
    assert content["metrics"]["counting"]["unmeasured"] is None
    report = json.loads((folder / "analyses" / "counting" / "report.json").read_text())
    assert report["parameters"] == {"scale": 2.0}
    assert "9 images." in (folder / "report.html").read_text()


def test_audit_json_says_what_was_understood(audit, world):
    content = json.loads((audit().run_dir / "audit.json").read_text())
    assert content["models"]["target"]["given"] == str(world / "target")
    assert content["models"]["source"]["description"] == "test_resnet, 4 classes, 32x32 pixels"
    assert content["data"]["source"]["description"] == "9 images of 3 of 4 classes (train split)"
    assert content["data"]["target"]["splits"]["val"]["images"] == 4
    assert content["analyses"] == {"first": {}, "counting": {"scale": 1.0}}
    assert "called as the source model's classes are" in content["class_mapping"]
    assert content["seed"] == 0


def test_two_audits_are_the_same(audit):
    one, two = (audit(analyses=["counting"]).run_dir for _ in range(2))
    report = "analyses/counting/report.json"
    assert (one / report).read_bytes() == (two / report).read_bytes()
    assert one != two


def test_only_the_named_analyses_in_the_given_order(audit):
    assert list(audit(analyses=["optional", "counting"]).analyses) == ["optional", "counting"]


# --- wrong input leaves nothing behind ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (NOT_GIVEN, 'also give source="MODEL", target_data="DIR", source_data="DIR"'),
        ({"source_data": None}, 'also give source_data="DIR"$'),
        ({"source_data": "nowhere"}, "no images at nowhere"),
        ({"target": "nowhere/model"}, "target model  nowhere/model does not exist"),
        ({"source": "resnt18"}, 'source model  timm has no model called "resnt18"'),
        ({"source": "w.pth"}, "source model  w.pth: a pickle"),
        ({"analyses": ["countng"]}, 'no analyzer called "countng"\n.*did you mean "counting"'),
        ({"analyses": []}, "no analysis to run"),
        ({"options": {"counting": {"skale": 2}}}, 'counting.skale.*no such option\n.*did you mean "scale"'),
        ({"options": {"counting": {"scale": 0}}}, "counting.scale: must be greater than 0, not 0"),
        ({"options": {"counting": {"stage": "x"}}}, "belongs to recipes"),
        ({"options": {"optional": {"how": "x"}}}, '"optional", which is not one of the analyses'),
        ({"fail_on": "image > 3"}, 'no analysis here measures "image"; did you mean "images"'),
        ({"fail_on": ["images > 3", "images >"]}, "a number is needed"),
        ({"device": "cuda"}, "cuda"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"on_bad_image": "ignore"}, 'on_bad_image is "error" or "skip"'),
    ],
)
def test_wrong_input_leaves_nothing_behind(audit, tmp_path, changes, words):
    if "device" in changes and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match=words):
        audit(**changes)
    assert nothing_left(tmp_path)


def test_a_target_that_does_not_descend_from_the_source(audit, world, tmp_path):
    other = tiny_model(SOURCE, name="test_vit")
    save_model(tmp_path / "vit", other, None, {})
    with pytest.raises(InputError, match="does not descend from"):
        audit(source=tmp_path / "vit")
    assert nothing_left(tmp_path)


def test_source_images_of_unknown_classes(audit, world, tmp_path):
    with pytest.raises(InputError, match=r'the folders "ants", "bees".*"aqua"(.|\n)*source_labels="FILE.csv"'):
        audit(source_data=world / "target-images")
    assert nothing_left(tmp_path)


def test_unreadable_images(audit, world, tmp_path):
    folder = images(tmp_path / "damaged", SOURCE)
    (folder / "aqua" / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"aqua.0\.png"):
        audit(source_data=folder)
    assert nothing_left(tmp_path)
    result = audit(source_data=folder, on_bad_image="skip", analyses=["counting"])
    assert result.analyses["counting"]["images"] == 11
    assert any("could not be read" in text and "0.png" in text for text in result.warnings)


# --- endings ------------------------------------------------------------------------------------------------


def test_conditions(audit):
    result = audit(fail_on=["counting.images > 8", "scale > 5", "unmeasured < 1"])
    assert [(one.holds, one.unchecked) for one in result.findings] == [(True, False), (False, False), (True, True)]
    assert result.failed
    content = json.loads((result.run_dir / "result.json").read_text())
    assert content["status"] == "done"
    first, _, last = content["findings"]
    assert first == {
        "expression": "counting.images > 8",
        "values": {"counting.images": 9.0},
        "holds": True,
        "unchecked": False,
    }
    assert last["values"] == {"counting.unmeasured": None} and last["unchecked"]
    assert not audit(fail_on="scale > 5").failed


def test_an_analysis_that_cannot_be_made_leaves_a_gap(audit):
    result = audit(
        analyses=["optional", "counting"], options={"optional": {"how": "needs more"}}, fail_on="optional.one < 1"
    )
    assert all(math.isnan(value) for value in result.analyses["optional"].values())
    assert result.findings[0].unchecked and result.failed and not result.errors
    report = json.loads((result.run_dir / "analyses" / "optional" / "report.json").read_text())
    assert report["gaps"] == ["this needs what nobody gave"]
    assert result.analyses["counting"]["images"] == 9


def test_an_analysis_that_breaks_does_not_take_the_others_along(audit):
    result = audit(analyses=["optional", "counting"], options={"optional": {"how": "broken"}}, fail_on="one > 0")
    assert list(result.analyses) == ["counting"]
    (error,) = result.errors
    assert "optional" in error and "ZeroDivisionError: by design" in error
    assert result.findings[0].unchecked and result.failed
    assert json.loads((result.run_dir / "result.json").read_text())["status"] == "failed"
    assert "ZeroDivisionError" in (result.run_dir / "run.log").read_text()
    assert "by design" in (result.run_dir / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_finished(audit, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"finished analyses \(counting\)") as caught:
        audit(analyses=["counting", "optional", "first"], options={"optional": {"how": f"signal {int(number)}"}})
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    (folder,) = (tmp_path / "out" / "audit").iterdir()
    content = json.loads((folder / "result.json").read_text())
    assert content["status"] == "stopped" and list(content["analyses"]) == ["counting"]
    assert [path.name for path in (folder / "analyses").iterdir()] == ["counting"]
    assert "was stopped before its end" in (folder / "report.html").read_text()


@pytest.fixture
def stopped(audit, world, tmp_path, monkeypatch):
    """The folder of an audit that was stopped in its second analysis; it was asked with relative paths."""
    monkeypatch.chdir(world)
    with monkeypatch.context() as patch:
        patch.setattr(Optional, "analyze", lambda self, session: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted) as caught:
            audit(
                "target", source="source", source_data="source-images", target_data="target-images",
                analyses=["counting", "optional", "first"], fail_on="one > 0", options={"counting": {"scale": 2}},
            )  # fmt: skip
    (folder,) = (tmp_path / "out" / "audit").iterdir()
    assert caught.value.__notes__ == [f'go on with: transferkit.resume("{folder}")']
    return folder


def test_a_stopped_audit_goes_on_from_anywhere(audit, stopped, tmp_path, monkeypatch):
    counted = []
    with monkeypatch.context() as patch:
        patch.setattr(Counting, "analyze", lambda self, session: counted.append(1))
        patch.chdir(tmp_path)
        resumed = transferkit.api.resume(stopped, quiet=True)
    assert not counted and resumed.failed
    whole = audit(analyses=["counting", "optional", "first"], fail_on="one > 0", options={"counting": {"scale": 2}})
    assert list(resumed.analyses) == list(whole.analyses) and str(resumed.analyses) == str(whole.analyses)
    assert resumed.verdicts == whole.verdicts and resumed.findings == whole.findings
    for name in whole.analyses:
        report = f"analyses/{name}/report.json"
        assert (stopped / report).read_bytes() == (whole.run_dir / report).read_bytes()
    assert json.loads((stopped / "result.json").read_text())["status"] == "done"


def test_resume_on_the_command_line_ends_as_the_audit_would(stopped):
    result = CliRunner().invoke(app, ["resume", str(stopped), "--json", "--quiet"])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["analyses"]["optional"] == {"one": 1.0, "two": 2.0}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "analyses/counting/all.csv").unlink(),
        lambda folder: (folder / "analyses/counting/report.json").write_text("{"),
        lambda folder: edit(folder / "analyses/counting/report.json", inputs={"target": "another"}),
        lambda folder: edit(folder / "analyses/counting/report.json", version="0.9"),
        lambda folder: edit(folder / "analyses/counting/report.json", parameters={"scale": 3.0}),
    ],
    ids=["a file is missing", "damaged", "another model", "another version", "other options"],
)
def test_what_is_not_the_same_analysis_runs_again(stopped, monkeypatch, change):
    change(stopped)
    counted = []
    monkeypatch.setattr(Counting, "analyze", lambda self, session: counted.append(1) or transferkit.Report())
    resume(stopped, quiet=True)
    assert counted == [1]


def test_an_audit_that_does_not_say_what_it_was_asked(stopped):
    edit(stopped / "audit.json", arguments={"target": "x"})
    with pytest.raises(InputError, match="does not say what the audit was asked; audit again"):
        resume(stopped)
    assert stopped.is_dir()


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_threads_are_as_before_afterwards(audit):
    before = torch.get_num_threads()
    audit(threads=before + 1, analyses=["first"])
    assert torch.get_num_threads() == before


def test_an_installed_analyzer_that_cannot_be_loaded_is_left_out(audit, analyzers):
    analyzers.add("analyzer", "elsewhere", "no_such_module:Analyzer", Owner("x", "x-plugins", "2"))
    result = audit()
    assert list(result.analyses) == ["first", "counting"]
    assert any('"elsewhere" of x-plugins 2 could not be loaded' in text for text in result.warnings)
    with pytest.raises(InputError, match="no_such_module"):
        audit(analyses=["elsewhere"])

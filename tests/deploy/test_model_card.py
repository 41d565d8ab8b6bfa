"""The card in a model folder: nothing made up, written anew where nobody edited it, and no part of what is checked."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

import transferkit
from tests.plugins.two_stage_runs import recipe, run
from transferkit.deploy.card_file import part, with_part
from transferkit.deploy.model_card import model_card, refresh
from transferkit.deploy.temperature import Temperature, write_temperature
from transferkit.errors import InputError
from transferkit.model.digest import model_digest
from transferkit.model.folder import open_model
from transferkit.statistics import measured_share


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of two stages, with an analysis of the second. Not to be changed."""
    content = recipe(validation=0.2)
    content["analyses"] = [{"use": "lingering", "dataset": "digits", "k": 2}]
    return run(tmp_path_factory.mktemp("run"), content).run_dir


def test_a_run_leaves_a_card_whose_numbers_are_the_runs(done):
    folder = done / "stages" / "target" / "model"
    text = (folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["library_name"], head["pipeline_tag"]) == ("timm", "image-classification")
    entry = json.loads((done / "result.json").read_text())["stages"]["target"]
    val = entry["evaluations"]["val"]
    interval = measured_share(val["top1"], val["images"])
    assert f"On {val['images']} images of `val`: {100 * val['top1']:.1f} % (95 % interval over images" in text
    assert f"{100 * interval.low:.1f} %" in text and f"{100 * interval.high:.1f} %" in text
    assert f"{entry['images']['train']} images of `train`" in text and "chose the epoch" in text
    assert "started from the model of the stage source" in text
    verdict = json.loads((done / "analyses" / "lingering" / "report.json").read_text())["verdict"]
    assert f"**lingering.** {verdict}" in text
    assert "no detector" in text and str(done.parent) not in text


def test_what_was_found_of_another_model_is_not_said(done):
    text = (done / "stages" / "source" / "model" / "README.md").read_text()
    assert "**lingering.**" not in text and "started from random weights" in text


def test_a_person_may_edit_it(folder):
    assert refresh(folder)
    path = folder / "README.md"
    written = path.read_text()
    assert not refresh(folder) and path.read_text() == written
    path.write_text(written.replace("[accuracy]", "[accuracy]\nlicense: mit") + "\nBy me.\n")
    transferkit.load(folder)
    write_temperature(folder, Temperature(2.0, 100, {"error_before": 0.125, "error_after": 0.03125}))
    assert refresh(folder)
    text = path.read_text()
    assert "license: mit" in text and text.endswith("\nBy me.\n")
    assert "divided by 2" in text and "12.5 % " not in text.split("**Probabilities.**")[0]
    assert "the calibration error is then 3.1 % in place of 12.5 %" in text
    path.write_text(text.replace("divided by 2", "divided by two"))
    assert not refresh(folder) and "divided by two" in path.read_text()


@pytest.mark.parametrize("content", [b"# Mine\n", b"", b"\xff\xfe"])
def test_a_card_that_is_not_ours_stays(folder, content):
    (folder / "README.md").write_bytes(content)
    assert not refresh(folder)
    assert (folder / "README.md").read_bytes() == content


def test_an_audit_is_said_and_kept(folder, tmp_path):
    refresh(folder)
    digest = model_digest(open_model(folder)[0])
    audit = tmp_path / "audit"
    for name, target in (("lingering", digest), ("bias", "another")):
        (audit / name).mkdir(parents=True)
        content = {"verdict": f"{name} is\nfound.", "inputs": {"target": target}}
        (audit / name / "report.json").write_text(json.dumps(content))
    places = {name: f"{name}/report.json" for name in ("lingering", "bias", "gone")}
    (audit / "result.json").write_text(json.dumps({"analyses": places}))
    assert refresh(folder, audit=audit)
    text = (folder / "README.md").read_text()
    assert "## Audit\n\n**lingering.** lingering is" in text and "bias" not in text
    (audit / "lingering" / "report.json").write_text(json.dumps({"verdict": "Gone.", "inputs": {"target": digest}}))
    assert refresh(folder, audit=audit)
    assert "**lingering.** Gone." in (folder / "README.md").read_text()
    pushed = model_card(folder, repository="me/flowers")
    assert "**lingering.** Gone." in pushed and "# flowers\n" in pushed and '"hf-hub:me/flowers"' in pushed


def test_a_damaged_folder_has_no_card(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError):
        refresh(folder)


def test_parts():
    card = "before\n" + part("a", "one") + "after\n"
    assert with_part(card, "a", "two") == "before\n" + part("a", "two") + "after\n"
    assert with_part(card, "b", "new", after="a") == "before\n" + part("a", "one") + "\n" + part("b", "new") + "after\n"
    assert with_part(card, "b", "new") == card
    edited = card.replace("one", "1")
    assert with_part(edited, "a", "two") == edited


def test_an_audit_writes_into_the_card_of_its_target(done, tmp_path):
    run = shutil.copytree(done, tmp_path / "run")
    folder = run / "stages" / "target" / "model"
    found = transferkit.audit(folder, analyses=["lingering"], quiet=True, out=tmp_path / "runs")
    text = (folder / "README.md").read_text()
    assert f"## Audit\n\n**lingering.** {found.verdicts['lingering']}" in text
    assert "50 images of `train`" in text

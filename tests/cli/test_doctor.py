import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

from transferkit.cli import doctor_machine, doctor_stages
from transferkit.cli.doctor_data import duplicates, imbalance, repeated
from transferkit.errors import InputError, TransferkitError
from transferkit.plugins.distributions import Failure, Owner
from transferkit.plugins.registry import Registry

verb = importlib.import_module("transferkit.cli.doctor")  # the package's `doctor` is the verb
ATTEMPT = doctor_stages.attempt
STEP = {"seconds": 0.5, "images_per_second": 8.0, "peak_memory_mb": 123.0, "loss": 0.7}


@pytest.fixture
def recipe(tmp_path, images, monkeypatch):
    monkeypatch.setattr(doctor_stages, "attempt", lambda probe, stage, keep: dict(STEP))
    content = {
        "name": "x",
        "model": {"name": "test_resnet"},
        "datasets": {"pictures": {"folder": str(images)}},
        "stages": [{"name": "target", "start": "scratch", "dataset": "pictures", "epochs": 1, "batch_size": 4}],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def found(cli, *arguments, code=0):
    result = cli("doctor", *arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_describes_the_machine(cli):
    facts = found(cli)
    assert facts["versions"]["torch"] and facts["versions"]["python"]
    [cpu] = [one for one in facts["devices"] if one["device"] == "cpu"]
    assert "no" in cpu["precisions"] and "fp16" not in cpu["precisions"]
    assert facts["disk"]["free_gib"] > 0 and "bss" in facts["plugins"]["installed"]["regularizer"]
    assert "data" not in facts


def test_prints_it_for_people(cli):
    text = cli("doctor").stdout
    assert "torch" in text and "cpu" in text and "GiB free" in text


def test_missing_packages_are_said(monkeypatch):
    monkeypatch.setattr(doctor_machine, "PACKAGES", ("no-such-package",))
    assert doctor_machine.versions()["no-such-package"] is None


def test_a_healthy_recipe(cli, recipe):
    facts = found(cli, recipe)
    data = facts["data"]["pictures"]
    assert data["counts"] == {"train": {"ants": 4, "bees": 4}, "val": {"ants": 3, "bees": 3}}
    assert data["checked"] == 14 and data["bad_images"] == [] and data["duplicates"] == []
    assert facts["steps"] == {"target": STEP} and not facts["as"] and not facts["not_tried"]
    assert facts["problems"] == []
    text = cli("doctor", recipe).stdout
    assert "14 images read" in text and "123 MB" in text and "No problem found" in text


def test_bad_images_stop_unless_they_may_be_skipped(cli, recipe, images):
    bad = images / "train" / "ants" / "bad.jpg"
    bad.write_text("no image")
    facts = found(cli, recipe, code=2)
    [one] = facts["data"]["pictures"]["bad_images"]
    assert (one["split"], one["path"]) == ("train", str(bad)) and one["reason"]
    [problem] = facts["problems"]
    assert problem["stops"] and "1 images cannot be read" in problem["text"]
    assert str(bad) in cli("doctor", recipe).stdout
    assert not found(cli, recipe, "datasets.pictures.on_bad_image=skip")["problems"][0]["stops"]


def test_duplicates_and_imbalance_are_told(cli, recipe, images):
    source = images / "train" / "ants" / "0.png"
    shutil.copy(source, images / "val" / "bees" / "copy.png")
    for i in range(10):
        shutil.copy(source, images / "train" / "ants" / f"again{i}.png")
    facts = found(cli, recipe)
    data = facts["data"]["pictures"]
    [pair] = data["duplicates"]
    assert pair["split"] == "val" and Path(pair["path"]).name == "copy.png" and "ants" in pair["train"]
    assert data["within_train"] == 10 and data["imbalance"]["train"] == 3.5
    texts = " ".join(problem["text"] for problem in facts["problems"])
    assert "also in train" in texts and "copies of others" in texts and "3.5 times" in texts
    assert "copy.png" in cli("doctor", recipe).stdout


def test_every_file_is_accounted_for(cli, recipe, images):
    (images / "train" / "ants" / "a.heic").write_bytes(b"x")
    (images / "train" / "ants" / ".DS_Store").write_bytes(b"x")
    shutil.copytree(
        images / "train" / "ants", images / "extra", ignore=lambda _, names: [n for n in names if n[0] in "a."]
    )
    facts = found(cli, recipe)
    places = {one["folder"]: one["kinds"] for one in facts["data"]["pictures"]["left_out"]}
    assert places == {"train/ants": {".heic": 1, "hidden": 1}, "extra": {"image": 4}}
    texts = [problem["text"] for problem in facts["problems"]]
    assert "pictures: 4 images of extra/ beside train/, val/ left out" in texts[0] and ".heic 1" in texts[1]
    line = "left out: 4 files in extra (image 4); 2 files in train/ants (.heic 1, hidden 1)"
    assert line in cli("doctor", recipe).stdout
    assert f"pictures: {line}" in cli("plan", recipe).stdout
    assert len(json.loads(cli("plan", recipe, "--json").stdout)["remarks"]["pictures"]) == 3


def test_a_full_temporary_folder_is_named(cli, recipe, monkeypatch):
    """Whatever exception a library has for it."""

    def fails(self, stage, *, keep):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    full = {"folder": "/tmp/full", "free_gib": 0.0, "total_gib": 1.0}
    monkeypatch.setattr(doctor_machine, "temporary", lambda: full)
    monkeypatch.setattr("transferkit.runs.probe.Probe.few_steps", fails)
    monkeypatch.setattr(doctor_stages, "attempt", ATTEMPT)
    texts = [problem["text"] for problem in found(cli, recipe, code=2)["problems"]]
    assert any("No space left" in text and "temporary folder /tmp/full" in text for text in texts)
    assert any("only 0 MiB are free in the temporary folder /tmp/full" in text for text in texts)
    monkeypatch.setattr(doctor_machine, "temporary", lambda: full | {"free_gib": 9.0})
    with pytest.raises(RuntimeError):
        found(cli, recipe)


def test_a_step_that_fails_stops(cli, recipe, monkeypatch):
    monkeypatch.setattr(doctor_stages, "attempt", lambda probe, stage, keep: {"error": "out of memory"})
    facts = found(cli, recipe, code=2)
    assert "the first step failed: out of memory" in facts["problems"][0]["text"]
    assert "stops training" in cli("doctor", recipe).stdout


def test_a_wrong_recipe_is_refused(cli, recipe):
    with pytest.raises(InputError, match="epoch"):
        cli("doctor", recipe, "stages.target.epoks=3")


def test_failed_plugins_are_problems(cli, monkeypatch):
    registry = Registry()
    registry.failures.append(Failure(Owner("broken", "broken-dist", "3"), RuntimeError("boom")))
    monkeypatch.setattr(verb, "installed", lambda: registry)
    [problem] = found(cli)["problems"]
    assert "boom" in problem["text"] and not problem["stops"]


def test_pure_functions(tmp_path):
    assert imbalance({"a": 6, "b": 2, "c": 0}) == 3
    assert imbalance({}) is None
    for name, text in (("a", "1"), ("b", "1"), ("c", "2"), ("d", "1")):
        (tmp_path / name).write_text(text)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert repeated([a, b, c]) == 1 and repeated([]) == 0
    assert [pair["path"] for pair in duplicates({"train": [a, c], "val": [d], "test": [tmp_path / "gone"]})] == [str(d)]


def test_an_error_in_the_step_becomes_a_sentence():
    def fails(stage, *, keep):
        raise TransferkitError("no room")

    assert doctor_stages.attempt(SimpleNamespace(few_steps=fails), "target", keep=False) == {"error": "no room"}


def several(recipe, *stages):
    content = yaml.safe_load(recipe.read_text())
    content["stages"] += [{**content["stages"][0], **stage} for stage in stages]
    recipe.write_text(yaml.safe_dump(content))


def test_each_stage_that_differs_is_tried(cli, recipe, monkeypatch):
    tried = []
    monkeypatch.setattr(doctor_stages, "time", SimpleNamespace(monotonic=iter(range(0, 1000, 50)).__next__))

    def attempt(probe, stage, keep):
        tried.append(stage)
        (probe.folder.model(stage)).mkdir(parents=True)
        return dict(STEP) if stage != "smaller" else {"error": "out of memory"}

    monkeypatch.setattr(doctor_stages, "attempt", attempt)
    several(
        recipe,
        {"name": "again", "epochs": 7, "optimizer": {"lr": 0.5}},
        {"name": "half", "start": "again", "batch_size": 2},
        {"name": "smaller", "batch_size": 3},
        {"name": "after", "start": "smaller"},
        {"name": "late", "batch_size": 5},
    )
    facts = found(cli, recipe, code=2)
    assert tried == list(facts["steps"]) == ["target", "half", "smaller"]  # by a clock that loses 50 s at each look
    assert facts["as"] == {"again": "target"}
    assert facts["not_tried"] == {"after": "it starts from smaller", "late": "those before it took more than 3 minutes"}
    assert [problem["text"] for problem in facts["problems"] if problem["stops"]] == [
        "stage smaller: the first step failed: out of memory"
    ]
    assert facts["forecast"] is None


def test_the_whole_is_foretold_from_each_stages_pace():
    stages = [SimpleNamespace(name=name, trains=True) for name in "abc"]
    recipe = SimpleNamespace(stages=stages, times=2)
    tried = {"steps": {"a": {"images_per_second": 10.0}, "b": {"images_per_second": 5.0}}, "as": {}}
    images = {"a": 100, "b": 50, "c": 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor_stages, "images_to_train", lambda recipe, names: images[names[0]])
        found = doctor_stages.forecast(recipe, tried)
    assert found == {"images": 340, "seconds": 200 / 10 + 100 / 5 + 40 / 5, "assumed": ["c"]}


def test_a_chain_of_stages_is_tried_for_real(cli, recipe, monkeypatch):
    monkeypatch.setattr(doctor_stages, "attempt", ATTEMPT)
    several(recipe, {"name": "second", "start": "target", "batch_size": 2, "head_init": "source"})
    result = cli("doctor", recipe)
    assert "A step of stage second, mean of three" in result.stdout and "No problem found" in result.stdout
    assert "trying stage second" in result.stderr


def test_a_strip_that_the_model_refuses_is_found_before_training(cli, recipe, images, monkeypatch):
    Image.new("L", (1, 1_500_000)).save(images / "val" / "ants" / "strip.png")
    Image.new("L", (1, 100)).save(images / "val" / "ants" / "small.png")
    crop = {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bilinear", "in_chans": 3}
    step = STEP | {"preprocessing": {"input_size": [224, 224], "mean": [0.5] * 3, "std": [0.5] * 3, **crop}}
    monkeypatch.setattr(doctor_stages, "attempt", lambda probe, stage, keep: dict(step))
    facts = found(cli, recipe, code=2)
    [bad] = facts["data"]["pictures"]["bad_images"]
    assert bad["path"].endswith("strip.png") and "256 x 384,000,000" in bad["reason"] and bad["split"] == "val"
    assert [strip["size"] for strip in facts["data"]["pictures"]["strips"]] == [[1, 100], [1, 1_500_000]]
    assert facts["steps"] == {"target": STEP} and not facts["as"] and not facts["not_tried"]

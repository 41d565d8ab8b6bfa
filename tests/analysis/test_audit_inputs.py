"""What the run of a target says of it, and what wins over it."""

from __future__ import annotations

import json

import pytest

from transferkit.api import resume
from transferkit.errors import InputError
from transferkit.recipe import yaml

from .audit_world import NOT_GIVEN, SOURCE, images


@pytest.fixture
def run_folder(world, tmp_path):
    """A run: `pre` on the source images, `target` from it, `control` from scratch."""
    run = tmp_path / "run"
    for stage, model in {"pre": "source", "target": "target", "control": "baseline"}.items():
        (run / "stages" / stage).mkdir(parents=True)
        (run / "stages" / stage / "model").symlink_to(world / model)
    stage = {"epochs": 1, "dataset": "insects", "validation": 0}
    recipe = {
        "name": "r",
        "model": {"name": "test_resnet"},
        "datasets": {
            "colours": {"folder": str(world / "source-images")},
            "insects": {"folder": str(world / "target-images")},
        },
        "stages": [
            {"name": "pre", **stage, "dataset": "colours", "start": "scratch"},
            {"name": "control", **stage, "start": "scratch"},
            {"name": "target", **stage, "start": "pre"},
        ],
    }
    return run, recipe


def write_run(run, recipe):
    (run / "recipe.yaml").write_text(yaml.dump(recipe))
    stages = {entry["name"]: {"model": f"stages/{entry['name']}/model"} for entry in recipe["stages"]}
    (run / "result.json").write_text(json.dumps({"status": "done", "stages": stages, "analyses": {}}))
    return run


def test_a_run_says_what_is_not_given(audit, run_folder, world):
    run = write_run(*run_folder)
    for target in (run, run / "stages" / "target", run / "stages" / "target" / "model"):
        result = audit(target, **NOT_GIVEN, analyses=["counting"])
        assert result.analyses["counting"]["images"] == 9 and result.analyses["counting"]["models"] == 3
    record = json.loads((result.run_dir / "audit.json").read_text())
    assert record["models"]["source"]["given"] == "stage pre (from the run's recipe)"
    assert record["models"]["baseline"]["given"] == "stage control (from the run's recipe)"
    assert record["data"]["source"]["given"] == "colours (from the run's recipe)"
    assert record["data"]["target"]["given"] == "insects (from the run's recipe)"


def test_options_and_seed_are_those_of_the_run(audit, run_folder):
    run, recipe = run_folder
    recipe["analyses"] = [
        {"use": "counting", "name": "early", "stage": "pre", "scale": 9.0},
        {"use": "counting", "scale": 2.0},
        {"use": "counting", "name": "later", "scale": 3.0},
        {"use": "optional", "how": "fine"},
    ]
    recipe |= {"seed": 7, "threads": 1}
    result = audit(write_run(run, recipe), **NOT_GIVEN)
    assert result.analyses["counting"]["images"] == 18 and result.content["seed"] == 7
    record = json.loads((result.run_dir / "audit.json").read_text())
    assert record["inherited"] == {"seed": 7, "threads": 1, "counting.scale": 2.0}  # how: fine is the default
    said = "seed=7, threads=1, counting.scale=2.0"
    assert f"from the run's recipe: {said}" in (result.run_dir / "run.log").read_text()
    assert said in (result.run_dir / "report.html").read_text()


def test_the_command_line_wins_over_the_run(audit, run_folder):
    run, recipe = run_folder
    recipe |= {"seed": 7, "analyses": [{"use": "counting", "scale": 2.0}]}
    result = audit(write_run(run, recipe), **NOT_GIVEN, seed=0, options={"counting": {"scale": 5}})
    assert result.analyses["counting"]["images"] == 45 and result.content["seed"] == 0
    assert json.loads((result.run_dir / "audit.json").read_text())["inherited"] == {}


def test_analyses_that_do_not_run_are_still_asked_for_their_options(audit, run_folder):
    run, recipe = run_folder
    recipe["analyses"] = [{"use": "counting", "scale": 2.0}, {"use": "of-a-plugin-file"}]
    result = audit(write_run(run, recipe), **NOT_GIVEN, analyses=["first"])
    assert result.analyses == {"first": {"scale": 2.0}}
    again = resume(result.run_dir, quiet=True)
    assert again.analyses == result.analyses


def test_an_option_of_the_run_that_is_none_any_more_is_refused_with_its_place(audit, run_folder, tmp_path):
    run, recipe = run_folder
    recipe["analyses"] = [{"use": "counting", "scale": -2}]
    with pytest.raises(InputError, match=r"counting\.scale=-2 in .*recipe\.yaml.*greater than 0"):
        audit(write_run(run, recipe), **NOT_GIVEN)
    assert not (tmp_path / "out").exists()


def test_what_is_given_wins_over_the_run(audit, run_folder, tmp_path):
    few = images(tmp_path / "few", SOURCE[1:3], 2)
    result = audit(write_run(*run_folder), **{**NOT_GIVEN, "source_data": few}, analyses=["counting"])
    assert result.analyses["counting"]["images"] == 4


def test_the_recipes_analyses_say_which_images_and_which_baseline(audit, run_folder, tmp_path):
    run, recipe = run_folder
    recipe["datasets"]["few"] = {"folder": str(images(tmp_path / "few", SOURCE[1:3], 2))}
    recipe["analyses"] = [{"use": "whatever", "dataset": "few", "baseline": "control"}]
    result = audit(write_run(run, recipe), **NOT_GIVEN, analyses=["counting"])
    assert result.analyses["counting"]["images"] == 4


def test_a_class_list_for_the_source_images_of_a_run(audit, run_folder, tmp_path):
    rows = [f"{index},{name},{name}" for index, name in enumerate(SOURCE)]
    (tmp_path / "l.csv").write_text("\n".join(["index,name,folder", *rows]))
    result = audit(write_run(*run_folder), **NOT_GIVEN, source_labels=tmp_path / "l.csv", analyses=["counting"])
    record = json.loads((result.run_dir / "audit.json").read_text())
    assert "l.csv" in record["class_mapping"]


def test_a_stage_from_scratch_has_no_source(audit, run_folder, tmp_path):
    run = write_run(*run_folder)
    with pytest.raises(InputError, match=r'"control".*trained from scratch.*source="MODEL"'):
        audit(run / "stages" / "control", **NOT_GIVEN)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_recipe_names_no_source_images(audit, run_folder, world, tmp_path):
    run, recipe = run_folder
    recipe["stages"][2]["start"] = str(world / "source")
    with pytest.raises(InputError, match="names no source images; give them with source_data"):
        audit(write_run(run, recipe), **NOT_GIVEN)
    result = audit(run, **{**NOT_GIVEN, "source_data": world / "source-images"}, analyses=["counting"])
    assert result.analyses["counting"]["models"] == 3

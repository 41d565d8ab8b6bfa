import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.analysis.made_up_runs import RECIPE, RESULT, metrics, write_run
from tests.analysis.pages import parsed
from transferkit.errors import InputError
from transferkit.report import Report, Table
from transferkit.reporting.html import write_report


def test_says_the_result_in_sentences(run_folder):
    text = parsed(write_report(run_folder)).all_text
    assert "resnet18, started from pretrained, reached a top-1 of 94.1 % at epoch 4 on 153 validation images" in text
    assert "(95 % interval 89.2 to 96.9 %)" in text  # Wilson, by hand: 0.8919..0.9687
    assert "Guessing would give 50.0 % (2 classes)" in text
    assert "The last epoch (5) has 93.5 %" in text
    assert "Worth acting on Stage target: bss: a numerical <no-op>" in text


def test_is_one_file_without_scripts_or_addresses(run_folder):
    page = parsed(write_report(run_folder))
    assert "script" not in page.tags and "link" not in page.tags
    assert not [value for _, value in page.attributes if value and re.match(r"(https?:)?//", value)]
    assert "url(" not in run_folder.joinpath("report.html").read_text()


def test_escapes_names_from_the_run(run_folder):
    source = write_report(run_folder).read_text()
    assert "<script" not in source and "ants <b>" not in source
    assert "ants &lt;b&gt;" in source and "bees &amp; co" in source


def test_draws_every_curve_as_valid_svg(run_folder):
    source = write_report(run_folder).read_text()
    pictures = re.findall(r"<svg.*?</svg>", source, flags=re.S)
    labels = [ElementTree.fromstring(picture).get("aria-label") for picture in pictures]
    assert labels == [
        "Confusion matrix",
        "Loss over epochs",
        "Top-1 over epochs",
        "Learning rate over epochs",
        "Weighted regularizers over epochs",
    ]
    assert "Weighted regularizers (log scale)" in source


def test_the_same_run_gives_the_same_bytes(run_folder):
    first = write_report(run_folder).read_bytes()
    assert write_report(run_folder).read_bytes() == first


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_an_unfinished_run_has_a_report(tmp_path, status):
    run = write_run(tmp_path / "run", result={"status": status, "error": "boom", "stages": {}}, lines=[])
    text = parsed(write_report(run)).all_text
    assert "No stage has been recorded yet" in text and "boom" in text


def test_survives_missing_files_half_a_line_and_missing_keys(tmp_path):
    run = write_run(tmp_path / "run", result={"status": "done", "stages": {"a": {}, "b": {"best": {"top1": None}}}})
    for name in ("recipe.yaml", "env.json"):
        (run / name).unlink()
    (run / "metrics.jsonl").write_text(
        json.dumps({"stage": "a", "split": "val", "loss": None}) + '\n{"stage": "a", "sp'
    )
    assert "has no evaluation on record" in parsed(write_report(run)).all_text


def test_a_result_at_chance_is_called_so(tmp_path):
    stage = RESULT["stages"]["target"] | {"best": {"epoch": 1, "top1": 0.52, "loss": 0.7}}
    run = write_run(tmp_path / "run", result={"status": "done", "stages": {"target": stage}})
    assert "not distinguishable from guessing" in parsed(write_report(run)).all_text


def test_training_numbers_are_not_sold_as_validation(tmp_path):
    stage = {"best": {"epoch": 1, "top1": 1.0, "loss": 0.1, "split": "train"}, "last": {}, "classes": ["a", "b"]}
    text = parsed(write_report(write_run(tmp_path / "run", result={"status": "done", "stages": {"t": stage}}))).all_text
    assert "There is no validation split" in text and "says nothing about new images" in text


def test_means_over_seeds(tmp_path):
    best = {"top1": 0.9, "loss": 0.31, "sd": {"top1": 0.021, "loss": 0.04}}
    repeats = [
        {
            "run_dir": f"seed-{seed}",
            "seed": seed,
            "stages": {"target": {"best": {"top1": value, "loss": 0.3, "epoch": 2}}},
        }
        for seed, value in enumerate((0.879, 0.921))
    ]
    result = {"status": "done", "stages": {"target": {"best": best, "last": {}, "images": 100}}, "repeats": repeats}
    text = parsed(write_report(write_run(tmp_path / "run", result=result))).all_text
    assert "90.0 ± 2.1 %" in text and "0.310 ± 0.040" in text
    assert "87.9 %" in text and "92.1 %" in text and "over 2 seeds" in text
    assert "interval" not in text


def test_shows_analyses(run_folder):
    rows = [[i, f"<i>{i}", None if i % 2 else 0.25] for i in range(60)]
    folder = run_folder / "analyses" / "retention"
    report = Report(
        {"relative_retention": 0.604}, {"classes": Table(["class", "name", "recall"], rows)}, ["a.svg"], "It holds."
    )
    report.write(folder, name="retention", plugin="retention", version="0.1.0", parameters={"dataset": "x"})
    (folder / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    page = parsed(write_report(run_folder))
    assert "It holds." in page.all_text and "60.4 %" in page.all_text
    assert "The first 50 of 60 rows; all of them: analyses/ retention/ classes.csv" in page.all_text
    assert {"analyses/retention/classes.csv", "analyses/retention/a.svg"} <= set(page.values("href"))
    assert page.all_text.count("<i>") == 50 and "script" not in page.tags
    assert any(value.startswith("data:image/svg+xml;base64,") for name, value in page.attributes if name == "src")


def test_a_figure_outside_the_analysis_is_not_read(run_folder):
    folder = run_folder / "analyses" / "x"
    Report(figures=["../../secret.svg", "gone.svg"]).write(folder, name="x", plugin="x", version="1", parameters={})
    (run_folder / "secret.svg").write_text("<svg/>")
    page = parsed(write_report(run_folder))
    assert "img" not in page.tags and "gone.svg is missing" in page.all_text


def test_a_damaged_analysis_is_named(run_folder):
    (run_folder / "analyses" / "x").mkdir(parents=True)
    (run_folder / "analyses" / "x" / "report.json").write_text("{")
    assert "analyses/x/report.json" in parsed(write_report(run_folder)).all_text


def test_many_classes_get_the_worst_ten_and_the_frequent_confusions(tmp_path):
    names = [f"class {i:02d}" for i in range(30)]
    matrix = [[20 - i % 7 if i == j else (i % 7 if j == (i + 1) % 30 else 0) for j in range(30)] for i in range(30)]
    stage = RESULT["stages"]["target"] | {"classes": names, "confusion": matrix, "images": 600}
    run = write_run(tmp_path / "run", result={"status": "done", "stages": {"target": stage}}, recipe=RECIPE, lines=[])
    page = parsed(write_report(run))
    assert "The 10 worst of 30 classes" in page.all_text
    assert "class 06 class 07 6" in page.all_text  # true, predicted, images


def test_recalls_are_those_of_the_saved_model_if_there_is_one(tmp_path):
    lines = metrics()
    lines[-1]["per_class"] = {"ants <b>": 0.123, "bees & co": None}
    saved = parsed(write_report(write_run(tmp_path / "a", lines=lines))).all_text
    assert "12.3 %" not in saved and "91.4 %" in saved  # 64 of 70
    stage = {key: value for key, value in RESULT["stages"]["target"].items() if key != "confusion"}
    running = write_run(tmp_path / "b", result={"status": "running", "stages": {"target": stage}}, lines=lines)
    assert "12.3 %" in parsed(write_report(running)).all_text


def test_shows_every_evaluation_of_the_saved_model(tmp_path):
    evaluations = {
        "val": {"top1": 0.9, "loss": 0.3, "images": 100},
        "squares": {"top1": 0.6, "loss": 1.2, "images": 50},
    }
    stage = RESULT["stages"]["target"] | {"evaluations": evaluations}
    text = parsed(write_report(write_run(tmp_path / "a", result={"stages": {"target": stage}}))).all_text
    assert "squares 60.0 % 46.2 to 72.4 % 1.2 50" in text and "top-5" not in text


def test_no_run_folder_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"no result\.json"):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        write_report(tmp_path)

"""The analyzer `data` from images to issues.csv: planted defects, what is left out, conditions, cost, its card."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transferkit_data_audit.issues import KINDS
from transferkit_data_audit.options import Options

from transferkit.analysis.fail_on import parse
from transferkit.analysis.run_analyzers import Analysis, run_analyzer
from transferkit.data import world
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.recipe.plugin_use import make
from transferkit.recipe.uses import AnalyzerUse
from transferkit.testing import MadeUpImages, made_up_session, tiny_analysis

from .data_audit_world import backbone, drawn, flipped, marked, near_copies_of

CLASSES = list(world.CLASSES["target"])


def planted():
    """{split: labels}, {split: pictures}: 5 % wrong labels in train, six training pictures again in val, some dark."""
    train, labels = drawn("target", 60)
    held, held_labels = drawn("target", 20, "val")
    given, wrong = flipped(labels, 0)
    train = marked(train, labels == 1)
    train[7] = train[7] // 20
    copied = np.flatnonzero(~wrong)[::17][:6]
    val = np.concatenate([marked(held, held_labels == 1), near_copies_of(train[copied])])
    return {"train": given, "val": np.r_[held_labels, labels[copied]]}, {"train": train, "val": val}, wrong


def run(session, **options):
    """The report, written as in a run."""
    use = AnalyzerUse.model_validate({"use": "data", **options})
    (plugin,) = make([use], "analyzer", installed())
    run_analyzer(Analysis(session.workbench, plugin, session.out, parameters=options, peers={}, run=None))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(folder of the report, which labels are wrong)."""
    labels, pictures, wrong = planted()
    session = made_up_session(
        tmp_path_factory.mktemp("data") / "out",
        images={"target": MadeUpImages(CLASSES, labels, pictures)},
        models={"source": backbone(), "target": backbone()},
        source_data=None,
    )
    run(session, permutations=39, pictures=4)
    return session.out, wrong


def rows(folder):
    with (folder / "issues.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(row):
    """The image's place in its split."""
    return int(row["id"].rpartition("/")[2])


def test_every_planted_defect_is_a_row(found):
    folder, wrong = found
    every = rows(folder)
    assert list(every[0]) == ["issue", "split", "id", "class", "score", "suggestion"]
    named = {number(one) for one in every if one["issue"].endswith("label") and one["split"] == "train"}
    assert len(named & set(np.flatnonzero(wrong))) >= 0.95 * wrong.sum() - 1
    assert len(named - set(np.flatnonzero(wrong))) <= 0.05 * (~wrong).sum()
    leaks = [one for one in every if one["issue"] == "leak"]
    assert {number(one) for one in leaks} >= set(range(40, 46)) and all(one["split"] == "val" for one in leaks)
    assert all("the same picture as train/" in one["suggestion"] for one in leaks)
    assert [one["id"] for one in every if one["issue"] == "dark"] == ["train/7"]
    assert {("corners", "sign"), ("corners", "wheel")} == {
        (one["id"], one["class"]) for one in every if one["issue"] == "shortcut" and one["id"] == "corners"
    }


def test_the_worst_of_a_kind_come_first(found):
    every = rows(found[0])
    kinds = [one["issue"] for one in every]
    assert kinds == sorted(kinds, key=list(KINDS).index)
    for kind in set(kinds):
        scores = [float(one["score"]) for one in every if one["issue"] == kind]
        assert scores == sorted(scores, reverse=True)


def test_shares_have_intervals_and_count_the_rows(found):
    report = json.loads((found[0] / "report.json").read_text(encoding="utf-8"))
    metrics, every = report["metrics"], rows(found[0])
    assert metrics["images"] == 166 and metrics["issues"] == len(every)
    for kind, number in (("wrong label", 166), ("leak", 46), ("dark", 166)):
        key = KINDS[kind].key
        assert metrics[key] == pytest.approx(sum(one["issue"] == kind for one in every) / number)
        assert metrics[f"{key}_low"] < metrics[key] < metrics[f"{key}_high"]
    assert metrics["shortcut_p"] <= 0.05 and metrics["told_by_corners"] > 0.9 > metrics["told_by_chance"]
    assert metrics["leaked_exactly"] is None and metrics["told_by_file"] is None  # no files, one size


def test_conditions_can_be_set_on_it(found):
    values = {"data": json.loads((found[0] / "report.json").read_text(encoding="utf-8"))["metrics"]}
    for text, holds in (("data.leaked > 0", True), ("shortcuts >= 1", True), ("data.outliers > 0.5", False)):
        condition = parse(text)
        condition.check_names({"data": Declared.of(installed().get("analyzer", "data").cls).metric_keys})
        assert condition.evaluate(values).holds is holds


def test_pictures_of_the_worst_are_there_and_can_be_read(found):
    report = json.loads((found[0] / "report.json").read_text(encoding="utf-8"))
    assert {"where.svg", "gallery-leak.jpg", "gallery-dark.jpg"} <= set(report["figures"])
    for name in report["figures"]:
        assert (found[0] / name).stat().st_size > 1000
    assert "also in train" in report["verdict"] and "corners" in report["verdict"]


# -- what there is not --------------------------------------------------------------------------------------------


def test_classes_of_few_images_are_left_out_with_a_reason(tmp_path):
    pictures, labels = drawn("target", 60)
    chosen = np.r_[0:12, 60:63]
    session = made_up_session(
        tmp_path / "out",
        images={"target": MadeUpImages(CLASSES, labels[chosen], pictures[chosen])},
        models={"target": backbone()},
        source_data=None,
    )
    report = installed().get("analyzer", "data").create({"permutations": 19}).analyze(session)
    assert any(one.startswith("Labels of 1 class were not looked at") for one in report.gaps)
    assert any("only one of the two" in one for one in report.gaps)
    assert np.isnan(report.metrics["wrong_labels"]) and np.isnan(report.metrics["leaked"])
    assert any("no source model here" in one for one in report.notes)


def test_files_that_are_in_train_and_val_are_named_as_such(tmp_path):
    pictures, labels = drawn("target", 60)
    for split, chosen in (("train", range(0, 120, 4)), ("val", range(1, 120, 6))):
        for i in chosen:
            place = tmp_path / "set" / split / CLASSES[labels[i]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[i]).save(place / f"{i}.png")
    copied = tmp_path / "set" / "val" / CLASSES[1] / "again.png"
    copied.write_bytes((tmp_path / "set" / "train" / CLASSES[0] / "8.png").read_bytes())
    session = made_up_session(
        tmp_path / "out",
        images={"target": {"folder": str(tmp_path / "set")}},
        models={"source": backbone(), "target": backbone()},
        source_data=None,
    )
    report = installed().get("analyzer", "data").create({"permutations": 19, "pictures": 1}).analyze(session)
    assert report.metrics["leaked_exactly"] == pytest.approx(1 / 21)
    (row,) = [row for row in report.tables["issues"].rows if row[0] == "leak" and "again" in row[2]]
    assert row[4] == 1
    assert f'the same file as train/{CLASSES[0]}/8.png, there labelled "{CLASSES[0]}"' in row[5]
    assert report.metrics["told_by_file"] > 0  # files have sizes


def test_two_images_of_a_class_are_looked_at_without_an_error(tmp_path):
    report = installed().get("analyzer", "data").create({}).analyze(tiny_analysis(tmp_path))
    assert report.metrics["images"] == 8 and len(report.gaps) == 3


def test_there_must_be_a_source_model_where_its_features_are_wanted(tmp_path):
    session = made_up_session(
        tmp_path / "out",
        images={"target": MadeUpImages(CLASSES, [0, 1])},
        models={"target": backbone()},
        source_data=None,
    )
    with pytest.raises(InputError, match="no source model"):
        installed().get("analyzer", "data").create({"features": "source"}).analyze(session)


def test_no_further_pass_goes_through_a_network(tmp_path):
    labels, pictures, _ = planted()
    session = made_up_session(
        tmp_path / "out",
        images={"target": MadeUpImages(CLASSES, labels, pictures)},
        models={"source": backbone(), "target": backbone()},
        source_data=None,
    )
    for split in ("train", "val"):
        session.predictions("source", "target", split)
    network = session.model("source").net
    asked = []
    handle = network.register_forward_pre_hook(lambda *_: asked.append(1))
    forward = network.forward_features
    network.forward_features = lambda images: asked.append(1) or forward(images)
    try:
        run(session, permutations=19, pictures=0)
    finally:
        handle.remove()
        del network.forward_features
    assert not asked


# -- the package --------------------------------------------------------------------------------------------------


def test_registered_with_options_and_metrics_on_the_card():
    component = installed().get("analyzer", "data")
    check_signatures(component.cls)
    card = Path(import_module("transferkit_data_audit").__file__).with_name("README.md").read_text(encoding="utf-8")
    for option, info in component.options.model_fields.items():
        assert info.description and f"`{option}`" in card, option
    for metric in component.cls.metrics:
        assert f"`{metric.key}`" in card, metric.key
    for heading in ("Claim", "Equation", "Cost", "Limits", "Functions", "Source"):
        assert f"**{heading}" in card
    assert set(Options.__dataclass_fields__) == set(component.options.model_fields)


def test_importing_it_imports_no_torch():
    code = (
        "import sys, transferkit_data_audit\n"
        "from transferkit.plugins.registry import installed\n"
        "installed().get('analyzer', 'data').options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules and 'sklearn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_labels_are_a_gap_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    pictures, labels = drawn("target", 60)
    session = made_up_session(
        tmp_path / "out",
        images={"target": MadeUpImages(CLASSES, labels[::4], pictures[::4])},
        models={"target": backbone()},
        source_data=None,
    )
    report = installed().get("analyzer", "data").create({"permutations": 19, "pictures": 0}).analyze(session)
    assert any("scikit-learn" in one for one in report.gaps)
    assert not np.isnan(report.metrics["copies"])

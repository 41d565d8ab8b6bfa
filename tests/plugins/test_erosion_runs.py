"""The analyzer `erosion` in a run: its numbers are those of the saved models; gaps; its card."""

from __future__ import annotations

import colorsys
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transferkit_erosion
from scipy import stats
from transferkit_erosion.analyzer import Erosion

from transferkit.data import world
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.model.folder import open_model
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.recipe import load_recipe
from transferkit.testing import tiny_analysis

from .finished_runs import Finished, recipe
from .made_up_audit import written
from .two_stage_runs import records, run

KEYS = Declared.of(Erosion).metric_keys
CARD = Path(transferkit_erosion.__file__).with_name("README.md").read_text(encoding="utf-8")
SIDE, SIZE, IMAGES = 6, 16, 6
"""Of the squares, of the digits in pixels, and of the digits per class that are looked at."""


def datasets():
    def squares(**options):
        return [{"use": "correlated_patch", "side": SIDE} | options]

    return {
        "clean": {"world": {"kind": "digits", "train": 20, "val": IMAGES, "size": SIZE}},
        "squares": {"from": "clean", "corruptions": squares()},
        "half": {"from": "clean", "corruptions": squares(ratio=0.5, splits=["train"])},
        "conflict": {"from": "clean", "corruptions": squares(shift=1)},
        "partly": {"from": "clean", "corruptions": squares(shift=1, ratio=0.5)},
        "sometimes": {"from": "clean", "corruptions": squares(ratio=0.5)},
        "alone": {"from": "clean", "corruptions": squares(alone=True)},
        "others": {"world": {"kind": "source", "train": 1, "val": 1, "size": SIZE}},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    early = {"evaluate_at": [0, 2], "evaluate_images": 30}
    stages = [
        {"name": "pretrain", "start": "scratch", "dataset": "clean", "epochs": 5},
        {"name": "erode", "start": "pretrain", "dataset": "squares", "epochs": 4, "evaluate": ["clean"], **early},
        {"name": "control", "start": "pretrain", "dataset": "clean", "epochs": 4, **early},
        {"name": "half", "start": "pretrain", "dataset": "half", "epochs": 1},
        {"name": "relearn", "start": "erode", "dataset": "clean", "epochs": 3, "evaluate_every": 2},
        {"name": "anew", "start": "scratch", "dataset": "clean", "epochs": 3, "evaluate_every": 2},
    ]
    analysis = {"use": "erosion", "stage": "erode", **OPTIONS}
    content = recipe(datasets(), stages) | {"analyses": [analysis]}
    return Finished(run(tmp_path_factory.mktemp("erosion"), content))


OPTIONS = {
    "clean": "clean",
    "matching": "squares",
    "conflict": "conflict",
    "alone": "alone",
    "control": "control",
    "sweep": ["half"],
    "relearn": "relearn",
    "scratch": "anew",
}


def analysed(finished, folder, stage="erode", **changes):
    session = finished.session(folder / "out", stage)
    return written(Erosion(**(OPTIONS | changes)).analyze(session), session)


def images(shift=None, alone=False):
    """((n, 3, 16, 16) digits with squares painted by hand, (n,) labels)."""
    pixels, labels = [], []
    for label, name in enumerate("0123456789"):
        for index in range(IMAGES):
            picture = world.draw("digits", "val", name, index, SIZE).copy()
            if alone:
                picture[:] = 128
            if shift is not None:
                hue = ((label + shift) % 10) / 10
                picture[:SIDE, :SIDE] = [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 1, 1)]
            pixels.append(picture)
            labels.append(label)
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255
    return (batch - 0.2) / 0.3, torch.tensor(labels)


def by_hand(finished, stage, shift=None, alone=False):
    """((n,) answers of a saved model to images made by hand, (n,) labels)."""
    model, _ = open_model(finished.run_dir / "stages" / stage / "model")
    pictures, labels = images(shift, alone)
    with torch.no_grad():
        return torch.cat([model.net(part).argmax(dim=1) for part in pictures.split(7)]), labels


def accuracy(finished, stage, **marks):
    predicted, labels = by_hand(finished, stage, **marks)
    return (predicted == labels).double().mean().item()


def test_accuracies_are_those_of_the_saved_models(finished, tmp_path):
    report = analysed(finished, tmp_path)
    assert set(report.metrics) == set(KEYS) and not report.gaps
    marks = {"clean": {}, "matching": {"shift": 0}, "conflict": {"shift": 1}, "alone": {"shift": 0, "alone": True}}
    stages = {"before": "pretrain", "after": "erode", "control": "control", "half": "half"}
    table = report.tables["accuracy"]
    assert len(table.rows) == len(marks) * len(stages)
    for arm, test, count, share, low, high in table.rows:
        assert count == 10 * IMAGES
        assert share == pytest.approx(accuracy(finished, stages[arm], **marks[test])), (arm, test)
        assert 0 <= low < share < high <= 1


def test_metrics_follow_from_the_saved_models(finished, tmp_path):
    report = analysed(finished, tmp_path)
    found = report.metrics
    before, after, control = (accuracy(finished, name) for name in ("pretrain", "erode", "control"))
    assert (found["accuracy_before"], found["accuracy_after"]) == pytest.approx((before, after))
    assert found["forgetting"] == pytest.approx(before - after)
    assert found["normalised_forgetting"] == pytest.approx((before - after) / (before - 0.1))
    assert found["forgetting_control"] == pytest.approx(before - control)
    assert found["excess_forgetting"] == pytest.approx(control - after)
    right = {name: torch.eq(*by_hand(finished, name)).numpy() for name in ("pretrain", "erode", "control")}
    for name, (one, other) in {"forgetting": ("pretrain", "erode"), "excess_forgetting": ("control", "erode")}.items():
        difference = right[one].astype(float) - right[other]
        by_class = difference.reshape(10, -1).mean(axis=1)  # as many images of each
        ends = stats.t.interval(0.95, 9, loc=difference.mean(), scale=stats.sem(by_class))
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx(ends)
    assert found["gate"] == pytest.approx(accuracy(finished, "erode", shift=0) - after)
    predicted, labels = by_hand(finished, "erode", shift=1)
    assert found["shortcut_reliance"] == pytest.approx((predicted == (labels + 1) % 10).double().mean().item())
    assert found["shortcut_alone"] == pytest.approx(accuracy(finished, "erode", shift=0, alone=True))
    rows = {row[0]: row for row in report.tables["forgetting"].rows}
    assert [rows[arm][1] for arm in ("after", "control", "half")] == [1, 0, 0.5]
    assert rows["half"][2] == pytest.approx(before - accuracy(finished, "half"))


def test_plasticity_follows_from_the_records(finished, tmp_path):
    found = analysed(finished, tmp_path).metrics
    again, anew = (
        [(line["epoch"], line["top1"]) for line in records(finished.run_dir, name, "val") if line["epoch"] >= 0]
        for name in ("relearn", "anew")
    )
    assert [epoch for epoch, _ in again] == [epoch for epoch, _ in anew] == [1, 2]
    gaps = [one - other for (_, one), (_, other) in zip(anew, again, strict=True)]
    assert (found["plasticity_gap"], found["plasticity_mean_gap"]) == pytest.approx((gaps[-1], sum(gaps) / 2))
    reached = [epoch + 1 for epoch, top1 in again if top1 >= 0.95 * anew[-1][1]]
    assert found["epochs_to_95"] == reached[0] if reached else math.isnan(found["epochs_to_95"])


def test_figures_and_captions(finished, tmp_path):
    report = analysed(finished, tmp_path)
    assert report.figures == ["forgetting.svg", "ratio_sweep.svg", "plasticity.svg"]
    assert analysed(finished, tmp_path, sweep=[], relearn=None, scratch=None).figures == ["forgetting.svg"]
    assert any("a fixed part of the images" in text for text in report.notes)


def test_the_run_itself_wrote_the_report(finished):
    folder = finished.run_dir / "analyses" / "erosion"
    assert (folder / "report.json").is_file() and (folder / "ratio_sweep.svg").is_file()


def test_a_stage_from_scratch_has_nothing_to_forget(finished, tmp_path):
    report = analysed(finished, tmp_path, stage="anew", sweep=[], relearn=None, scratch=None)
    assert math.isnan(report.metrics["forgetting"]) and math.isnan(report.metrics["accuracy_before"])
    assert report.metrics["accuracy_after"] == pytest.approx(accuracy(finished, "anew"))
    assert report.metrics["excess_forgetting"] == pytest.approx(
        accuracy(finished, "control") - accuracy(finished, "anew")
    )
    assert "before was left out: the stage starts from scratch, so there is no model before it" in report.gaps[0]


def test_a_stage_that_was_not_evaluated_on_clean_images_has_no_curve(finished, tmp_path):
    report = analysed(finished, tmp_path, stage="half", control=None, sweep=[], relearn=None, scratch=None)
    assert report.gaps == [
        "The stage half was not evaluated on clean while it trained, so it has no curve: give it evaluate: [clean]."
    ]
    assert report.figures == []
    assert report.metrics["forgetting"] == pytest.approx(accuracy(finished, "pretrain") - accuracy(finished, "half"))


def test_unknown_names_cost_only_themselves(finished, tmp_path):
    report = analysed(finished, tmp_path, control="contrl", sweep=["hlaf"], relearn="relern", conflict="conflct")
    assert len(report.gaps) == 4
    assert 'conflict: the recipe has no data set called "conflct"; did you mean "conflict"?' in report.gaps[0]
    for text, (wrong, right) in zip(
        report.gaps[1:], [("contrl", "control"), ("hlaf", "half"), ("relern", "relearn")], strict=True
    ):
        assert f'{wrong} was left out: the recipe has no stage called "{wrong}"; did you mean "{right}"?' in text
    found = report.metrics
    assert math.isnan(found["shortcut_reliance"]) and math.isnan(found["plasticity_gap"])
    assert math.isnan(found["excess_forgetting"]) and not math.isnan(found["forgetting"])
    with pytest.raises(InputError, match='clean: the recipe has no data set called "clen"; did you mean "clean"'):
        analysed(finished, tmp_path, clean="clen")


def test_a_test_set_of_other_classes_costs_only_itself(finished, tmp_path):
    report = analysed(finished, tmp_path, matching="others", control=None, sweep=[])
    assert report.gaps[0] == (
        "before was not tried on others: its classifier has 10 classes, and those of others are not among them."
    )
    assert math.isnan(report.metrics["gate"]) and not math.isnan(report.metrics["forgetting"])


def test_data_sets_that_are_marked_in_part(finished, tmp_path):
    session = finished.session(tmp_path / "samples", "erode")
    marked = torch.from_numpy(session.samples("partly").planted["correlated_patch"])
    assert int(marked.sum()) == 30
    predicted, labels = by_hand(finished, "erode", shift=1)
    expected = (predicted == (labels + 1) % 10)[marked].double().mean().item()
    report = analysed(finished, tmp_path, conflict="partly", control=None, sweep=[])
    assert report.metrics["shortcut_reliance"] == pytest.approx(expected)
    report = analysed(finished, tmp_path, matching="sometimes", control=None, sweep=[])
    marked = torch.from_numpy(session.samples("sometimes").planted["correlated_patch"])
    right, plain = (torch.eq(*by_hand(finished, "erode", shift=shift))[marked].double().mean() for shift in (0, None))
    assert report.metrics["gate"] == pytest.approx((right - plain).item())
    agreeing = analysed(finished, tmp_path, conflict="squares", control=None, sweep=[])
    assert math.isnan(agreeing.metrics["shortcut_reliance"]) and "says by its option shift" in agreeing.gaps[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"control": "erode"}, "erode cannot be its own control"), ({"warm": "after"}, 'row called "after" already')],
)
def test_stages_that_would_be_taken_for_others(finished, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        analysed(finished, tmp_path, **changes)


def test_an_audit_has_no_stages(tmp_path):
    with pytest.raises(InputError, match="erosion compares the stages of a recipe"):
        Erosion(clean="target").analyze(tiny_analysis(tmp_path))


def test_registered_with_everything_on_the_card():
    component = installed().get("analyzer", "erosion")
    check_signatures(component.cls)
    assert component.hooks == ["analyze"] and component.create({"clean": "x"}) == Erosion(clean="x")
    assert {"forgetting", "normalised_forgetting", "shortcut_reliance", "plasticity_gap"} <= set(KEYS)
    for option, info in component.options.model_fields.items():
        assert info.description and f"| `{option}` |" in CARD, option
    assert all(f"`{metric}`" in CARD for metric in KEYS)
    assert all(f"**{heading}" in CARD for heading in ("Claim", "Equation", "Cost", "Limits", "Function", "Source"))
    assert all(f"{function}(" in CARD for function in transferkit_erosion.__all__)


def test_the_recipe_of_the_card_is_valid(tmp_path):
    pixels, labels = np.zeros((4, 32, 32, 3), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "cifar10.npz", x_train=pixels, y_train=labels, x_val=pixels, y_val=labels)
    (given,) = re.findall(r"^```yaml\n(.*?)^```", CARD, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: card\nmodel: {{name: transferkit_resnet20}}\n{given}", encoding="utf-8")
    loaded = load_recipe(path)
    (analysis,) = loaded.recipe.analyses
    named = [analysis.options[key] for key in ("control", "relearn", "warm", "scratch")]
    stages = {stage.name: stage for stage in loaded.recipe.stages}
    assert {*named, *analysis.options["sweep"], "pretrain", "erode"} == set(stages)
    assert stages["warm"].start == analysis.options["control"] and stages["relearn"].start == analysis.stage


def test_importing_package_and_options_does_not_import_torch():
    code = (
        "import sys, transferkit_erosion, transferkit_tennis_ball\n"
        "from transferkit.plugins.registry import installed\n"
        "for name in ('erosion', 'attraction'): installed().get('analyzer', name).options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stage_that_starts_from_the_published_weights_is_compared_with_them(finished, tmp_path):
    weights = finished.run_dir / "stages" / "pretrain" / "model" / "model.safetensors"
    stages = [
        {"name": "erode", "start": "pretrained", "dataset": "squares", "epochs": 1, "evaluate": ["clean"]},
        {"name": "control", "start": "pretrained", "dataset": "clean", "epochs": 1},
    ]
    content = recipe(datasets(), stages)
    content["model"] = content["model"] | {"weights": str(weights)}
    again = Finished(run(tmp_path / "again", content))
    options = {"clean": "clean", "matching": "squares", "conflict": "conflict", "control": "control"}
    report = Erosion(**options).analyze(again.session(tmp_path / "out", "erode"))
    assert report.metrics["accuracy_before"] == pytest.approx(accuracy(finished, "pretrain"))
    assert report.metrics["accuracy_after"] == pytest.approx(accuracy(again, "erode"))
    assert math.isfinite(report.metrics["excess_forgetting_low"]) and not report.gaps

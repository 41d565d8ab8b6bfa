"""The analyzer `distraction`: what is kept, what is missing, what is shown, what is refused."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transferkit_distraction
from PIL import Image
from transferkit_distraction import views
from transferkit_distraction.analyzer import Distraction
from transferkit_distraction.measure import measure
from transferkit_distraction.pictures import shown
from transferkit_distraction.verdict import notes
from transferkit_distraction.views import Viewer

from transferkit.data import world
from transferkit.errors import InputError
from transferkit.plugins.registry import installed
from transferkit.testing import tiny_model

from . import distraction_world
from .distraction_world import OPTIONS, SIZE, composite, model, quick, rows, session

measured = distraction_world.measured  # a fixture


def test_the_report_can_be_written_and_names_its_pictures(measured):
    found, report = measured
    report.write(found.out, name="distraction", plugin="distraction", version="0", parameters={})
    json.loads((found.out / "report.json").read_text(encoding="utf-8"))
    assert list(report.figures) == ["scatter.svg", "gallery-01.jpg"]  # of the others some model's map is empty
    assert set(report.captions) == set(report.figures) and all((found.out / name).is_file() for name in report.figures)
    with (found.out / "distraction.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file))[:8] == [
            "class", "name", "state", "images", "composites", "target", "baseline", "difference",
        ]  # fmt: skip
    assert report.tables["distraction"].folded and report.tables["composites"].folded
    assert not (found.out / "composites").exists()
    text = " ".join(report.notes)
    for fact in ("4 x 4 cells", "closed form", "seed 0", "percentile 80", "Chance", "test_resnet", "32x32"):
        assert fact in text
    width = Image.open(found.out / "gallery-01.jpg").width
    assert width > 4 * 150  # input and three maps


def test_a_repeat_needs_no_forward_pass_and_gives_the_same(measured, tmp_path, monkeypatch):
    found, report = measured
    kept = found.workbench.cache
    again = session(tmp_path, cache=kept, p_lo=0.0)
    monkeypatch.setattr(Viewer, "_look_at", None)
    monkeypatch.setattr(Viewer, "predict", None)
    repeated = Distraction(**OPTIONS).analyze(again)
    assert repeated.metrics == pytest.approx(dict(report.metrics), nan_ok=True)
    assert repeated.verdict == report.verdict and repeated.captions == report.captions


def test_other_thresholds_of_lingering_need_no_forward_pass(measured, tmp_path, monkeypatch):
    """What lingers no longer is shown as forgotten; only classes that were never looked at would cost a pass."""
    found, report = measured
    monkeypatch.setattr(Viewer, "_look_at", None)
    monkeypatch.setattr(Viewer, "predict", None)
    other = quick(session(tmp_path, cache=found.workbench.cache, p_lo=0.99), classes=5)
    assert {row["state"] for row in rows(other)} <= {"shared", "source_only", "uncertain"}
    assert not any(row["in_means"] for row in rows(other))
    assert {row["class"] for row in rows(other)} <= {row["class"] for row in rows(report)}


def test_batches_do_not_matter(measured, tmp_path, monkeypatch):
    _, report = measured
    monkeypatch.setitem(views.BATCH, "cpu", 3)
    other = quick(session(tmp_path), classes=5)
    assert other.metrics == pytest.approx(dict(report.metrics), abs=0.02, nan_ok=True)


def test_tokens_instead_of_maps(tmp_path):
    vit = tiny_model(world.TARGET_CLASSES, name="test_vit", seed=1, img_size=SIZE)
    source = tiny_model(world.SOURCE_CLASSES, name="test_vit", seed=0, img_size=SIZE)
    report = quick(session(tmp_path, source=source, target=vit))
    assert report.metrics["classes"] == 3 and "by gradient" in " ".join(report.notes)
    assert "another architecture" in " ".join(report.notes)


@cache
def target():
    return model(seed=1)


def test_a_baseline_that_is_the_target_shows_no_difference(tmp_path):
    report = quick(session(tmp_path, target=target(), baseline=target()))
    assert report.metrics["target_mean"] == report.metrics["baseline_mean"]
    assert report.metrics["classes_above_diagonal"] == 0 and math.isnan(report.metrics["p_value"])
    assert report.metrics["flip_rate_target"] == report.metrics["flip_rate_baseline"]
    assert report.verdict.startswith(
        "Whether the fine-tuned model is distracted more than the baseline is not certain: in 0 of"
    )
    assert "no pair of classes differs" in " ".join(report.notes)


def test_classes_of_a_baseline_in_another_order(measured, tmp_path):
    _, report = measured
    plain = model(seed=2)
    turned = model(reversed_classes := world.TARGET_CLASSES[::-1], seed=2)
    turned.load_state_dict(plain.state_dict())
    with torch.no_grad():
        turned.head.weight.copy_(plain.head.weight.flip(0))
        turned.head.bias.copy_(plain.head.bias.flip(0))
    assert turned.classes == list(reversed_classes)
    other = quick(session(tmp_path, baseline=turned), classes=5)
    assert other.metrics == pytest.approx(dict(report.metrics), nan_ok=True)


def test_a_baseline_of_other_classes_is_a_gap(tmp_path):
    report = quick(session(tmp_path, baseline=model(("cat", "dog"), seed=2)))
    assert "baseline has other classes" in report.gaps[0]
    assert math.isnan(report.metrics["baseline_mean"]) and math.isfinite(report.metrics["target_mean"])


def test_without_a_baseline(tmp_path):
    found = session(tmp_path, baseline=None)
    report = Distraction(**OPTIONS).analyze(found)
    assert "There is no baseline" in report.gaps[0] and "no baseline to compare it with" in report.verdict
    assert set(report.metrics) == {key for one in Distraction.metrics for key in one.keys}
    for name in ("baseline_mean", "flip_rate_baseline", "accuracy_baseline", "classes_above_diagonal", "p_value"):
        assert math.isnan(report.metrics[name]), name
    assert math.isfinite(report.metrics["target_mean"]) and math.isfinite(report.metrics["flip_rate_target"])
    assert report.figures[0] == "classes.svg"
    assert rows(report, "composites")[0]["distraction_baseline"] is None


def test_when_nothing_lingers(tmp_path):
    report = Distraction(**OPTIONS).analyze(session(tmp_path, p_lo=0.99))
    assert report.metrics["classes"] == 0 and report.metrics["composites_lingering"] == 0
    for name in ("target_mean", "baseline_mean", "flip_rate_target", "recovered", "empty_maps_target"):
        assert math.isnan(report.metrics[name]), name
    assert "lingers" in report.verdict and any("numbers of equation 4 are empty" in text for text in report.gaps)
    assert len(report.tables["distraction"].rows) == 5 and "scatter.svg" in report.figures


def test_without_a_source_model_it_says_why(tmp_path):
    found = session(tmp_path)
    del found.workbench.models["source"]
    with pytest.raises(InputError, match="no source model; name it"):
        Distraction(**OPTIONS).analyze(found)


def test_a_target_that_knows_none_of_its_images_has_no_overlays(tmp_path, monkeypatch):
    found = session(tmp_path)
    seen = found.predictions("target", "target", "val")
    object.__setattr__(seen, "labels", 1 - seen.predicted())
    whole = found.predictions
    monkeypatch.setattr(
        type(found), "predictions", lambda self, *of: seen if of == ("target", "target", "val") else whole(*of)
    )
    with pytest.raises(InputError, match="wrong on all 12 val images of its own task"):
        Distraction(**OPTIONS).analyze(found)


def test_composites_are_written_when_asked(tmp_path):
    found = session(tmp_path, baseline=None)
    report = quick(found, write_composites=True)
    first = rows(report, "composites")[0]
    with (found.out / "composites" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        manifest = list(csv.DictReader(file))
    assert len(manifest) == len(report.tables["composites"].rows)
    assert manifest[0]["background_id"] == first["background_id"] and int(manifest[0]["left"]) == first["left"]
    written = np.asarray(Image.open(found.out / "composites" / manifest[0]["file"]))
    np.testing.assert_array_equal(written, composite(found, first))


def test_maps_of_one_cell_are_a_gap(tmp_path):
    blind = tiny_model(world.TARGET_CLASSES, seed=2)
    report = quick(session(tmp_path, baseline=blind))
    assert any("baseline model have a single cell" in text for text in report.gaps)
    # one cell is the same everywhere: never above its own percentile, so nothing is left but empty against empty
    values = [row["distraction_baseline"] for row in rows(report, "composites")]
    assert all(math.isnan(found) or found == 0 for found in values)


def test_the_gallery_is_not_chosen_by_what_it_is_sorted_by(tmp_path):
    session_ = session(tmp_path)
    found = measure(session_, Distraction(**OPTIONS | {"composites": 40}))
    everything = shown(found, 10**6, 0)
    full = [(one, row) for one in found.ours for row in range(len(one.seen.part.indices))
            if not any(view.empty[row] for view in one.seen.views.values())]  # fmt: skip
    assert {(one.number, row) for one, row in everything} == {(one.number, row) for one, row in full}
    empty = sum(len(one.seen.part.indices) for one in found.ours) - len(full)
    assert f"{empty} of {empty + len(full)} composites with an empty map" in notes(session_, Distraction(), found)[-1]
    for count in (1, 3, 5):
        some = shown(found, count, 0)
        scores = [
            float(one.seen.distraction["target"][row] - one.seen.distraction["baseline"][row]) for one, row in some
        ]
        assert scores == sorted(scores, reverse=True) and len(scores) == min(count, len(full))
        assert len({one.number for one, _ in some}) == min(count, len({one.number for one, _ in full}))
    chosen = {seed: [(one.number, row) for one, row in shown(found, 2, seed)] for seed in range(8)}
    assert len({str(sorted(each)) for each in chosen.values()}) > 1  # a draw
    for one in found.ours:  # other values, the same pictures
        one.seen.distraction["target"] = 1 - one.seen.distraction["target"]
    assert {(one.number, row) for one, row in shown(found, 2, 0)} == set(chosen[0])
    assert shown(found, 0, 0) == []


def test_options():
    component = installed().get("analyzer", "distraction")
    assert component.create({}) == Distraction() and Distraction.standard_audit == 40
    assert (Distraction().classes, Distraction().composites, Distraction().scale) == (30, 40, 0.4)
    for wrong in ({"scope": "whole"}, {"scale": 0}, {"percentile": 100}, {"of": "probability"}, {"classes": 0}):
        with pytest.raises(ValueError):
            component.create(wrong)
    for name, info in component.options.model_fields.items():
        assert info.description, name


def test_importing_the_class_and_its_options_does_not_import_torch():
    code = (
        "import sys, transferkit_distraction.analyzer\n"
        "from transferkit.plugins.registry import installed\n"
        "installed().get('analyzer', 'distraction').options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_card_names_every_option_and_metric():
    card = Path(transferkit_distraction.__file__).with_name("README.md").read_text(encoding="utf-8")
    for option in installed().get("analyzer", "distraction").options.model_fields:
        assert f"`{option}`" in card, option
    for metric in (one.key for one in Distraction.metrics):
        assert f"`{metric}`" in card or f"`{metric.rsplit('_', 1)[0]}_*`" in card, metric

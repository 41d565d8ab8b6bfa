"""The analyzer `distraction` on a drawn world: every number against plain models, autograd and NumPy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest, ttest_1samp
from transferkit_distraction.analyzer import Distraction
from transferkit_distraction.measure import in_order, measure
from transferkit_distraction.views import Viewer

from transferkit.analysis import memories
from transferkit.data import world

from . import distraction_world
from .distraction_world import OPTIONS, ROLES, SIZE, composite, gradcam, margin, model, quick, rows, says, session
from .test_distraction import oracle

measured = distraction_world.measured  # a fixture


def test_every_composite_agrees_with_the_definition(measured):
    found, report = measured
    for row in rows(report, "composites"):
        picture = composite(found, row)
        box = row["top"], row["left"], row["top"] + row["height"], row["left"] + row["width"]
        source = gradcam(found.model("source"), picture, row["source_class"])
        for role in ("target", "baseline"):
            heat = gradcam(found.model(role), picture, row["overlay_class"])
            expected = oracle(heat, source, box)
            # batches of other sizes round differently; a pixel at the threshold may change sides
            assert row[f"distraction_{role}"] == pytest.approx(expected, abs=0.02, nan_ok=True)
            assert row[f"empty_{role}"] == (not heat.any())
        assert row["empty_source"] == (not source.any())


def test_predictions_and_flips_agree_with_plain_models(measured):
    found, report = measured
    names = list(world.TARGET_CLASSES)
    for row in rows(report, "composites"):
        for role in ("target", "baseline"):
            logits = says(found, role, composite(found, row))
            assert row[f"predicted_{role}"] == names[int(logits.argmax())]
            assert row[f"probability_{role}"] == pytest.approx(float(logits.softmax(dim=1).max()), abs=1e-5)
            control = says(found, role, composite(found, row, (128, 128, 128)))
            assert row[f"on_colour_{role}"] == names[int(control.argmax())]


def test_occlusion_agrees_with_plain_models(measured):
    found, report = measured
    names, tried = list(world.TARGET_CLASSES), 0
    for row in rows(report, "composites"):
        picture = composite(found, row).copy()
        box = slice(row["top"], row["top"] + row["height"]), slice(row["left"], row["left"] + row["width"])
        seen = gradcam(found.model("source"), picture, row["source_class"])
        seen[box] = 0
        mask = seen > np.percentile(seen, 80)
        mask[box] = False
        right = row["predicted_target"] == names[row["overlay_class"]]
        if right or not mask.any():
            assert row["without_source_view"] is None and row["without_control"] is None
            continue
        tried += 1
        picture[mask] = 128
        assert row["without_source_view"] == names[int(says(found, "target", picture).argmax())]
        assert row["without_control"] in names
    assert tried > 2


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_metrics_are_means_of_class_means(measured):
    found, report = measured
    assert set(report.metrics) == {key for one in Distraction.metrics for key in one.keys}
    lingering = set(memories(found).lingering.tolist())
    per_class = {}
    for row in rows(report, "composites"):
        per_class.setdefault(row["source_class"], []).append(row)
    table = {row["class"]: row for row in rows(report)}
    assert set(table) == set(per_class)
    means = {}
    for number, some in per_class.items():
        expected = {
            "target": np.nanmean([row["distraction_target"] for row in some]),
            "baseline": np.nanmean([row["distraction_baseline"] for row in some]),
            "flip_rate_target": np.mean([row["predicted_target"] != row["on_colour_target"] for row in some]),
            "accuracy_target": np.mean(
                [row["predicted_target"] == world.TARGET_CLASSES[row["overlay_class"]] for row in some]
            ),
            "empty_source": np.mean([row["empty_source"] for row in some]),
        }
        for name, number_expected in expected.items():
            assert table[number][name] == pytest.approx(number_expected, nan_ok=True), name
        assert table[number]["composites"] == len(some) >= 4
        assert table[number]["state"] == ("uncertain" if number in lingering else "shared")  # two images each
        assert table[number]["in_means"] == (number in lingering)
        if number in lingering:
            means[number] = expected
    metrics = report.metrics
    assert metrics["classes"] == len(means) >= 5 and metrics["composites_lingering"] == 4 * len(means)
    assert metrics["target_mean"] == pytest.approx(np.nanmean([one["target"] for one in means.values()]))
    assert metrics["baseline_mean"] == pytest.approx(np.nanmean([one["baseline"] for one in means.values()]))
    assert metrics["flip_rate_target"] == pytest.approx(np.mean([one["flip_rate_target"] for one in means.values()]))
    assert metrics["empty_maps_source"] == pytest.approx(np.mean([one["empty_source"] for one in means.values()]))
    pairs = [one for one in means.values() if math.isfinite(one["target"] - one["baseline"])]
    assert metrics["classes_above_diagonal"] == sum(one["target"] > one["baseline"] for one in pairs)
    expected = ttest_1samp([one["target"] - one["baseline"] for one in pairs], 0)
    assert metrics["p_value"] == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval(0.95)
    assert (metrics["difference_low"], metrics["difference_high"]) == pytest.approx((ends.low, ends.high))
    unequal = sum(one["target"] != one["baseline"] for one in pairs)
    sign = binomtest(int(metrics["classes_above_diagonal"]), unequal)
    assert metrics["p_above_diagonal"] == pytest.approx(sign.pvalue)
    share = 0.2 / (1 - 13 * 13 / SIZE**2)
    assert metrics["chance"] == pytest.approx(share / (2 - share))


def test_unrelated_pictures_have_their_overlay_nearest_to_the_same_place(measured):
    found, report = measured
    every = rows(report, "composites")
    maps = {}
    for row in every:
        picture = composite(found, row)
        source = gradcam(found.model("source"), picture, row["source_class"])
        maps[id(row)] = gradcam(found.model("target"), picture, row["overlay_class"]), source
    means = {row["class"]: row["unrelated_target"] for row in rows(report)}
    for number, mean in means.items():
        values = []
        for row in (row for row in every if row["source_class"] == number):
            box = row["top"], row["left"], row["top"] + row["height"], row["left"] + row["width"]
            others = [each for each in every if each["source_class"] != number]
            other = min(others, key=lambda each: math.dist((each["top"], each["left"]), box[:2]))
            values.append(oracle(maps[id(row)][0], maps[id(other)][1], box))
        finite = [each for each in values if math.isfinite(each)]
        assert mean == pytest.approx(np.mean(finite) if finite else math.nan, abs=0.02, nan_ok=True)


def test_overlays_are_those_the_target_knows(measured):
    found, report = measured
    for row in rows(report, "composites"):
        overlay = np.asarray(found.overlays().picture(row["overlay"]))
        assert int(says(found, "target", overlay).argmax()) == row["overlay_class"]


def test_another_percentile_needs_no_map(measured, tmp_path, monkeypatch):
    found, report = measured
    monkeypatch.setattr(Viewer, "_look_at", None)
    other = session(tmp_path, cache=found.workbench.cache)
    changed = quick(other, percentile=60, scope="region")
    assert changed.metrics["target_mean"] != report.metrics["target_mean"]
    for row in rows(changed, "composites"):
        picture = composite(found, row)
        box = row["top"], row["left"], row["top"] + row["height"], row["left"] + row["width"]
        maps = [gradcam(found.model("target"), picture, row["overlay_class"])]
        maps.append(gradcam(found.model("source"), picture, row["source_class"]))
        assert row["distraction_target"] == pytest.approx(oracle(*maps, box, 60, "region"), abs=0.02, nan_ok=True)


def test_the_predicted_class_and_the_margin(measured, tmp_path):
    found, _ = measured
    report = quick(session(tmp_path), target_class="predicted", of="margin")
    for row in rows(report, "composites"):
        picture = composite(found, row)
        box = row["top"], row["left"], row["top"] + row["height"], row["left"] + row["width"]
        source = gradcam(found.model("source"), picture, row["source_class"], margin)
        for role in ("target", "baseline"):
            predicted = world.TARGET_CLASSES.index(row[f"predicted_{role}"])
            heat = gradcam(found.model(role), picture, predicted, margin)
            assert row[f"distraction_{role}"] == pytest.approx(oracle(heat, source, box), abs=0.02, nan_ok=True)


def test_canvases_that_are_not_square_and_models_of_other_sizes(tmp_path):
    """The canvas is M^t's; M^s and M^b see the picture at their own sizes, and all maps come back to the canvas."""
    sizes = {"source": (48, 40), "target": (24, 40), "baseline": (16, 16)}
    models = {"source": model(world.SOURCE_CLASSES), "target": model(seed=1), "baseline": model(seed=2)}
    for role, size in sizes.items():
        models[role].preprocessing = replace(models[role].preprocessing, input_size=size)
    found = session(tmp_path, **models)
    report = quick(found)
    height, width = sizes["target"]
    for row in rows(report, "composites"):
        picture = Image.fromarray(composite(found, row))
        assert picture.size == (width, height) and (row["height"], row["width"]) == (10, 17)
        heats = {}
        for role, number in (("source", row["source_class"]), *((r, row["overlay_class"]) for r in ROLES)):
            resized = np.asarray(picture.resize(sizes[role][::-1], Image.Resampling.BILINEAR))
            heats[role] = gradcam(found.model(role), resized, number, size=(height, width))
        box = row["top"], row["left"], row["top"] + row["height"], row["left"] + row["width"]
        for role in ROLES:
            expected = oracle(heats[role], heats["source"], box)
            assert row[f"distraction_{role}"] == pytest.approx(expected, abs=0.02, nan_ok=True)


def test_a_target_that_asks_as_the_source_does_is_fully_distracted(tmp_path):
    """M^t with the source's backbone, and for every target class the source's weights of one class: overlap 1 there."""
    source, same = model(world.SOURCE_CLASSES), model(seed=1)
    same.load_state_dict({k: v for k, v in source.state_dict().items() if not k.startswith("net.fc")}, strict=False)
    found = session(tmp_path, source=source, target=same)
    with torch.no_grad():
        source.head.weight.abs_()  # positive weights on positive features: no map is empty
        first = in_order(memories(found).lingering.tolist(), 0)[0]
        same.head.weight.copy_(source.head.weight[first].expand(2, -1))
    measured = measure(found, Distraction(**OPTIONS))
    (looked_at,) = (each for each in measured.ours if each.number == first)
    assert looked_at.seen.distraction["target"].tolist() == [1.0] * 4

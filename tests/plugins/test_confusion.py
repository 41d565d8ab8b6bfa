"""The analyzer on planted models whose answer is the mean colour, and on small random ones."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy.stats import binomtest
from torch import nn
from transferkit_confusion.analyzer import Confusion
from transferkit_lingering.analyzer import Lingering

from transferkit.analysis import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.model import Preprocessing, TransferModel
from transferkit.plugins.registry import installed
from transferkit.recipe.schema import Dataset
from transferkit.testing import check_plugin
from transferkit.testing.tiny import tiny_model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

SIZE = 32
RED, ROSE, BLUE, NAVY, GREY, IRON = (220, 30, 30), (200, 60, 60), (30, 30, 220), (60, 60, 200), (128,) * 3, (100,) * 3
COLOURS = {"red": RED, "rose": ROSE, "blue": BLUE, "navy": NAVY, "grey": GREY, "iron": IRON}
TARGET = {"ants": (150, 110, 110), "bees": (110, 110, 150)}
SMALL = {"overlays": 3, "backgrounds": 2, "neutral": 2, "repeats": 2, "limit": 12, "source_only": False}


class MeanColour(nn.Module):
    """Logits are a linear function of the picture's mean colour."""

    def __init__(self, weight):
        super().__init__()
        self.fc = nn.Linear(3, len(weight), bias=False)
        self.fc.weight = nn.Parameter(torch.tensor(weight))
        self.num_features = 3
        self.calls = 0

    def forward_features(self, images):
        self.calls += len(images)
        return images

    def forward_head(self, images, pre_logits=False):
        return images.mean(dim=(2, 3))

    def get_classifier(self):
        return self.fc


def by_colour(weight, classes):
    preprocessing = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3, 1.0, "center", "bilinear")
    return TransferModel(MeanColour(weight), classes=classes, preprocessing=preprocessing, architecture="mean colour")


def redness(classes=("ants", "bees"), scale=20.0):
    return by_colour([[scale, 0.0, -scale], [-scale, 0.0, scale]], classes)


def write_images(root, colours, count, noise=25):
    rng = np.random.default_rng(0)
    for name, colour in colours.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            tint = np.array([4, 0, -4]) * (-1) ** i  # greys lean to either side in turn
            pixels = np.clip(np.array(colour) + tint + rng.normal(0, noise, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_images(root / "source" / "val", COLOURS, 8)
    for split in ("train", "val"):
        write_images(root / "target" / split, TARGET, 5)
        write_images(root / "three" / split, {"ants": (150, 0, 0), "bees": (0, 0, 150), "wasps": (0, 150, 0)}, 4)
    return root


def session_of(images, out, target, *, target_data="target", source_data="source", cache=None, **others):
    models = {role: Given(role, partial(lambda model: (model, None), model)) for role, model in others.items()}
    workbench = Workbench(
        models={"target": Given("target", lambda: (target, None)), **models},
        datasets={name: Dataset(folder=str(images / name)) for name in ("source", "target", "three")},
        source_data=source_data,
        target_data=target_data,
        seed=0,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=cache or Cache(),
    )
    out.mkdir(parents=True, exist_ok=True)
    return AnalysisSession(workbench, out, "confusion")


def analyze(session, **options):
    return Confusion(**SMALL | options).analyze(session)


def column(report, table, name):
    found = report.tables[table]
    return [row[list(found.columns).index(name)] for row in found.rows]


def test_a_model_that_looks_at_the_colour_behind_is_caught(images, tmp_path):
    report = analyze(session_of(images, tmp_path, redness()))
    metrics = report.metrics
    assert metrics["contrast_target"] == metrics["accuracy_with_target"] == 1.0
    assert metrics["accuracy_against_target"] == 0.0
    assert metrics["accuracy_colour_target"] == 1.0
    assert metrics["composites"] == 2 * 6 * 12 and metrics["overlays"] == 6
    found = {(row[0], row[3]): row[1] for row in report.tables["backgrounds"].rows}
    assert found["ants", "red"] == found["bees", "navy"] == "with"
    assert found["ants", "blue"] == found["bees", "rose"] == "against"
    assert found["ants", "grey"] == found["bees", "iron"] == "neutral"
    assert "+100 points" in report.verdict and "helps to decide" in report.verdict
    chosen = list(zip(*(column(report, "classes", name) for name in ("target_class", "group", "name")), strict=True))
    assert ("ants", "with", "red") in chosen and ("bees", "against", "rose") in chosen
    low, bias, images = (column(report, "classes", name) for name in ("low_target", "bias_target", "images"))
    red = chosen.index(("ants", "with", "red"))
    expected = binomtest(4, 4).proportion_ci(0.95, "wilson").low
    assert (bias[red], images[red], low[red]) == (1.0, 4, pytest.approx(expected))
    assert report.figures == ["accuracy.svg"] and (tmp_path / "accuracy.svg").is_file()
    assert math.isnan(metrics["contrast_baseline"]) and "no baseline model" in report.gaps[0]
    assert set(metrics) == set(Declared.of(Confusion).metric_keys)


def test_a_model_that_does_not_look_there_has_no_contrast(images, tmp_path):
    constant = by_colour([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], ["ants", "bees"])
    report = analyze(session_of(images, tmp_path, redness(), baseline=constant))
    metrics = report.metrics
    assert metrics["contrast_baseline"] == 0.0 and metrics["contrast_difference"] == 1.0
    assert metrics["accuracy_with_baseline"] == metrics["accuracy_against_baseline"] == 0.5  # always ants
    assert "+100 points" in report.verdict and "moves the fine-tuned model" not in report.verdict
    assert "The baseline is right on 50 %" in report.verdict and "chance (50 %) could give" in report.verdict
    assert not any("baseline" in gap for gap in report.gaps)


def test_a_baseline_with_its_classes_in_another_order_is_the_same_model(images, tmp_path):
    turned = by_colour([[-20.0, 0.0, 20.0], [20.0, 0.0, -20.0]], ["bees", "ants"])
    metrics = analyze(session_of(images, tmp_path, redness(), baseline=turned)).metrics
    assert metrics["contrast_difference"] == 0.0
    for group in ("with", "neutral", "against", "colour"):
        assert metrics[f"accuracy_{group}_baseline"] == metrics[f"accuracy_{group}_target"]


def test_a_baseline_of_other_classes_is_left_out(images, tmp_path):
    other = by_colour([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], ["cats", "dogs"])
    report = analyze(session_of(images, tmp_path, redness(), baseline=other))
    assert math.isnan(report.metrics["contrast_baseline"])
    assert "The baseline could not be compared: the baseline has other classes" in report.gaps[0]


def test_more_than_two_classes(images, tmp_path):
    target = by_colour([[9.0, -4, -4], [-4.0, -4, 9], [-4.0, 9, -4]], ["ants", "bees", "wasps"])
    report = analyze(session_of(images, tmp_path, target, target_data="three"))
    assert report.metrics["overlays"] == 9 and len(report.tables["backgrounds"].rows) == 3 * 6
    assert set(column(report, "accuracy", "target_class")) == {"all", "ants", "bees", "wasps"}
    groups = {(row[0], row[3]): row[1] for row in report.tables["backgrounds"].rows}
    assert groups["ants", "red"] == "with" and groups["ants", "blue"] == "against"
    assert any("wasps" in gap and "not certain to favour" in gap for gap in report.gaps)  # no source class is green


def test_bias_is_measured_on_the_other_half(images, tmp_path):
    report = analyze(session_of(images, tmp_path, redness()), save=True)
    assert column(report, "backgrounds", "images_bias") == [4] * 12
    assert column(report, "backgrounds", "images_pasted") == [4] * 12
    assert any("the other half" in note for note in report.notes)
    whole = analyze(session_of(images, tmp_path / "whole", redness()), halves=False)
    assert column(whole, "backgrounds", "images_pasted") == [8] * 12
    assert any("due to that choice alone" in note for note in whole.notes)
    assert math.isnan(whole.metrics["bias_chosen_held_out"]) and report.metrics["bias_chosen_held_out"] == 1.0
    assert report.metrics["bias_all_held_out"] == 0.5
    assert report.metrics["bias_chosen_held_out_low"] == pytest.approx(
        binomtest(4, 4).proportion_ci(0.95, "wilson").low
    )
    assert (tmp_path / "composites" / "manifest.csv").is_file()
    assert len(list((tmp_path / "composites").glob("*.png"))) == report.metrics["composites"]


def test_same_seed_same_report_and_a_second_one_asks_no_model(images, tmp_path):
    cache, target = Cache(tmp_path / "cache"), redness()
    first = analyze(session_of(images, tmp_path / "1", target, cache=cache))
    assert target.net.calls > 0
    again = redness()
    second = analyze(session_of(images, tmp_path / "2", again, cache=Cache(tmp_path / "cache")))
    assert again.net.calls == 0
    assert second.metrics == pytest.approx(first.metrics, nan_ok=True) and second.notes == first.notes
    assert repr(second.tables) == repr(first.tables)
    assert (tmp_path / "1" / "accuracy.svg").read_bytes() == (tmp_path / "2" / "accuracy.svg").read_bytes()


def test_accuracies_are_those_of_the_pictures_themselves(images, tmp_path):
    """Each composite written as a file and given to the model on its own."""
    target = redness(scale=3.0)
    session = session_of(images, tmp_path, target)
    report = analyze(session, save=True)
    rows = (tmp_path / "composites" / "manifest.csv").read_text().splitlines()
    header, rows = rows[0].split(","), [row.split(",") for row in rows[1:]]
    right = []
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / "composites" / row[0]), dtype=np.float64) / 255
        red, _, blue = pixels.mean(axis=(0, 1))
        right.append((red < blue) == int(row[header.index("overlay_class")]))
    every = np.array(report.tables["accuracy"].rows[:3], dtype=object)
    expected = sum(every[:, 7] * every[:, 5]) / every[:, 5].sum()
    assert np.mean(right) == pytest.approx(expected)


def test_source_classes_that_the_target_shows_are_left_out(images, tmp_path):
    weights = [[c / 128 - 1 for c in colour] for colour in COLOURS.values()]
    source = by_colour((30 * np.array(weights, dtype=np.float32)).tolist(), list(COLOURS))
    session = session_of(images, tmp_path, redness(), source=source)
    session.peers = {"lingering": Lingering(k=1)}
    report = analyze(session, source_only=True)
    shown = set(session.predictions("source", "target").predicted().tolist())
    assert shown
    assert not shown & set(column(report, "backgrounds", "class"))
    assert any("first guess for at most 1% of the target images; only these" in note for note in report.notes)


def test_without_a_source_model_shared_classes_stay_and_that_is_said(images, tmp_path):
    report = analyze(session_of(images, tmp_path, redness()), source_only=True)
    assert any("could not be left out" in gap for gap in report.gaps)
    assert report.metrics["contrast_target"] == 1.0


@pytest.mark.parametrize(
    ("options", "session", "match"),
    [
        ({"min_images": 9}, {}, "at least three source classes with 9 images, and 0 have them"),
        ({}, {"source_data": None}, "no source images"),
        ({}, {"target_data": None}, "no target images"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(images, tmp_path, options, session, match):
    with pytest.raises(InputError, match=match):
        analyze(session_of(images, tmp_path, redness(), **session), **options)


def test_one_target_class_is_no_choice(images, tmp_path):
    one = by_colour([[1.0, 0.0, 0.0]], ["ants"])
    with pytest.raises(InputError, match="one class only"):
        analyze(session_of(images, tmp_path, one))


def test_options_and_promises():
    component = installed().get("analyzer", "confusion")
    assert component.cls is Confusion and component.hooks == ["analyze"]
    assert component.cls.standard_audit == 50
    assert (Confusion().backgrounds, Confusion().neutral, Confusion().limit) == (6, 4, 30)  # as the card says
    for wrong in ({"overlays": 0}, {"area": 0}, {"area": 1.1}, {"limits": 3}):
        with pytest.raises(ValidationError):
            component.create(wrong)
    check_plugin(Confusion, min_images=2, overlays=2, limit=4, repeats=1, source_only=False)


def test_any_network(images, tmp_path):
    report = analyze(
        session_of(images, tmp_path, tiny_model(TARGET), baseline=tiny_model(TARGET, seed=1)), min_images=1
    )
    assert all(0 <= report.metrics[f"accuracy_{group}_target"] <= 1 for group in ("with", "neutral", "against"))


def test_importing_does_not_import_torch():
    code = (
        "import sys, transferkit_confusion.analyzer\n"
        "from transferkit.plugins.registry import installed\n"
        "installed().get('analyzer', 'confusion').options.model_json_schema()\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_thresholds_of_lingering_find_the_same_pictures(images, tmp_path):
    weights = [[c / 128 - 1 for c in colour] for colour in COLOURS.values()]
    source = by_colour((30 * np.array(weights, dtype=np.float32)).tolist(), list(COLOURS))
    session = session_of(images, tmp_path, redness(), source=source)
    tables = []
    for k, v_lo in ((1, 0), (5, 3)):
        session.peers = {"lingering": Lingering(k=k, v_lo=v_lo)}
        tables.append(analyze(session, source_only=True).tables["backgrounds"].rows)
    assert tables[0] == tables[1]

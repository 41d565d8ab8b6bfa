"""The analyzer `interference` in a tiny world: what it reports, what it refuses, and the files it leaves."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from transferkit_interference import conformal_threshold, interference_score, refitted_head
from transferkit_interference.analyzer import InterferenceDetector
from transferkit_interference.detectors import Detector
from transferkit_interference.evaluation import Rival
from transferkit_interference.material import calibration_share, source_halves
from transferkit_interference.threshold import enough, luck
from transferkit_interference.verdict import verdict
from transferkit_lingering.analyzer import Lingering

import transferkit
from transferkit.analysis.detector_use import detector_use
from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.model.folder import open_model, save_model
from transferkit.plugins.registry import installed
from transferkit.report import Table
from transferkit.statistics import Estimate, share
from transferkit.testing import check_plugin, tiny_analysis

from .made_up_audit import column, written

ROLES = ("target", "source")
SMALL = {"alpha": 0.34, "composite_classes": 3, "composites_per_class": 2, "bootstrap": 20}


@pytest.fixture
def session(tmp_path):
    """Everything lingers that does not show; there are four clean images."""
    found = tiny_analysis(tmp_path / "run" / "analyses")
    found.peers = {"lingering": Lingering(k=1, v_lo=0, p_lo=0.0)}
    return found


def in_folder(session, folder, role="target"):
    """The same model, opened from a model folder."""
    model, head = session.workbench.models[role].opened
    save_model(folder, model, head)
    session.workbench.models[role] = Given(f"{role} in a folder", partial(open_model, folder), folder=folder)
    return folder


def images(session, split="val"):
    samples = session.samples("target", split)
    return torch.stack([samples.get(i, 0)[0] for i in range(len(samples))]), samples.ids


def test_everything_is_reported(session):
    report = written(InterferenceDetector(**SMALL).analyze(session), session)
    assert set(report.metrics) == set(Declared.of(InterferenceDetector).metric_keys)
    table = report.tables["comparison"]
    assert column(table, "detector") == [
        "refitted source head, sum", "refitted source head, max", "swapped source head, sum",
        "swapped source head, max", "separate source model, sum", "separate source model, max", "MSP", "max logit",
        "energy", "entropy", "Mahalanobis", "relative Mahalanobis", "kNN (k = 1)", "ViM", "ReAct + energy",
        "kernel map of the features",
    ]  # fmt: skip
    assert column(table, "passes") == [1] * 4 + [2] * 2 + [1] * 10
    for name in ("auroc_presence", "aupr_presence", "fpr95_presence", "aurc_harm", "accuracy_at_90"):
        assert all(0 <= value <= 1 for value in column(table, name)), name
    assert report.metrics["auroc_presence"] == column(table, "auroc_presence")[0]
    assert report.metrics["calibration_size"] == 4
    assert len(report.tables["watched"].rows) == report.metrics["watched"] > 0
    assert "lingering source classes" in report.verdict
    assert any("no detector was written" in note for note in report.notes)


def test_pixels_are_shown_once(session, monkeypatch):
    InterferenceDetector(**SMALL).analyze(session)
    monkeypatch.setattr("transferkit.analysis.workbench.features_of", None)
    monkeypatch.setattr("transferkit.analysis.session.AnalysisSession.answers", None)
    InterferenceDetector(**{**SMALL, "head": "swapped", "reduction": "max"}).analyze(session)


def test_too_few_clean_images_are_refused_with_the_number(session):
    with pytest.raises(
        InputError, match=r"4 clean images cannot promise at most 5 % false alarms; 19 would do. All .* give it 19 imag"
    ):
        InterferenceDetector().analyze(session)
    with pytest.raises(InputError, match=r"2 clean images cannot .* A share of 0\.5 .* give it 38 images"):
        InterferenceDetector(calibration=0.5).analyze(session)
    with pytest.raises(InputError, match="with a confidence of 90 %; 22 would do"):
        InterferenceDetector(alpha=0.1, confidence=0.9).analyze(session)


@pytest.mark.parametrize(
    ("alpha", "confidence", "n"), [(0.05, None, 19), (0.01, None, 99), (0.05, 0.95, 59), (0.9, None, 1)]
)
def test_enough_is_the_smallest_number(alpha, confidence, n):
    assert enough(alpha, confidence) == n
    assert math.isinf(conformal_threshold(torch.arange(n - 1), alpha, confidence))


def test_a_fixed_threshold_promises_nothing(session, tmp_path):
    in_folder(session, tmp_path / "model")
    report = InterferenceDetector(detect_p=0.01, composite_classes=0, install=True, bootstrap=0).analyze(session)
    assert report.metrics["detect_p"] == 0.01
    assert math.isnan(report.metrics["aurc_harm"]) and math.isnan(report.metrics["auroc_composites"])
    guarantee = transferkit.load(tmp_path / "model").interference.guarantee
    assert guarantee.alpha is None and "nothing is promised" in guarantee.text


@pytest.mark.parametrize("head", ["refitted", "swapped", "separate"])
@pytest.mark.parametrize("reduction", ["sum", "max"])
def test_the_installed_detector_is_the_reported_one(session, tmp_path, head, reduction):
    folder = in_folder(session, tmp_path / "model")
    options = InterferenceDetector(**SMALL, head=head, reduction=reduction, calibration=0.5, install=True)
    report = options.analyze(session)
    guarded = transferkit.load(folder)
    batch, ids = images(session)
    found = guarded(batch)
    calibrate, rest = calibration_share(ids, 0.5, session.seed)
    assert guarded.interference.detect_p == report.metrics["detect_p"]
    np.testing.assert_allclose(
        sorted(found.score[torch.from_numpy(calibrate)].tolist()), guarded.interference.calibration.scores, atol=1e-5
    )
    flagged = (found.score[torch.from_numpy(rest)] > report.metrics["detect_p"] + 1e-6).float().mean()
    assert float(flagged) == pytest.approx(report.metrics["false_alarm_rate"])
    watched = column(report.tables["watched"], "class")
    assert guarded.interference.indices == watched and set(found.source_class.tolist()) <= set(watched)
    names = [guarded.interference.source_classes[c] for c in watched]
    assert names == column(report.tables["watched"], "name")
    assert guarded.interference.score.model == head and guarded.interference.source_model["sha256"]


def test_the_score_is_equation_5_of_the_refitted_head(session, tmp_path):
    folder = in_folder(session, tmp_path / "model")
    InterferenceDetector(**SMALL, install=True).analyze(session)
    guarded, (batch, _) = transferkit.load(folder), images(session)
    both = [session.predictions(role, *data) for data in (("source", None), ("target", "train")) for role in ROLES]
    half = torch.from_numpy(source_halves(both[0].labels.numpy(), both[0].ids, session.seed)[0])
    inputs, outputs = (torch.cat([both[i].features[half], both[i + 2].features]) for i in (0, 1))
    head = refitted_head(inputs, outputs, session.source_head())
    logits = head.logits(session.predictions("target", "target", "val").features)
    expected = interference_score(logits, torch.tensor(guarded.interference.indices), "sum")
    torch.testing.assert_close(guarded(batch).score.float(), expected, atol=1e-5, rtol=1e-4)


def test_a_stage_of_the_same_run_is_guarded(session, tmp_path):
    folder = in_folder(session, tmp_path / "run" / "stages" / "target" / "model")
    (tmp_path / "run" / "recipe.yaml").write_text("name: x")
    report = InterferenceDetector(**SMALL).analyze(session)
    assert (folder / "interference.json").is_file() and "written into the model's folder" in report.notes[0]
    assert not (session.out / "detector").exists()


@pytest.mark.parametrize("head", ["refitted", "separate"])
def test_a_foreign_folder_is_left_alone_and_gets_a_copy(session, tmp_path, head):
    folder = in_folder(session, tmp_path / "model")
    before = sorted(path.name for path in folder.iterdir())
    report = InterferenceDetector(**SMALL, head=head).analyze(session)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert "install: true" in report.notes[0]
    assert not any(path.is_dir() and path.name != "detector" for path in session.out.iterdir())
    shutil.copytree(session.out / "detector", folder, dirs_exist_ok=True)
    assert transferkit.load(folder).guarded


def test_install_false_keeps_out_of_the_own_run(session, tmp_path):
    folder = in_folder(session, tmp_path / "run" / "stages" / "target" / "model")
    (tmp_path / "run" / "recipe.yaml").write_text("name: x")
    InterferenceDetector(**SMALL, install=False).analyze(session)
    assert not (folder / "interference.json").exists() and (session.out / "detector" / "interference.json").is_file()


def test_the_source_model_is_identified_by_its_weights(session, tmp_path):
    from transferkit.system.atomic import sha256

    in_folder(session, tmp_path / "model")
    source = in_folder(session, tmp_path / "source", "source")
    InterferenceDetector(**SMALL, install=True).analyze(session)
    assert transferkit.load(tmp_path / "model").interference.source_model["sha256"] == sha256(
        source / "model.safetensors"
    )


def test_nothing_lingers(session):
    session.peers = {"lingering": Lingering(k=12)}
    report = written(InterferenceDetector(**SMALL).analyze(session), session)
    assert report.metrics["watched"] == 0 and math.isnan(report.metrics["detect_p"])
    assert (
        set(report.metrics) == set(Declared.of(InterferenceDetector).metric_keys)
        and "nothing to detect" in report.verdict
    )


def test_a_separate_model_must_see_the_same_pixels(session):
    model, head = session.workbench.models["source"].opened
    model.preprocessing = replace(model.preprocessing, crop_pct=0.5)
    session.workbench.models["source"] = Given("other pixels", lambda: (model, head))
    with pytest.raises(InputError, match=r"crop_pct is 0\.5"):
        InterferenceDetector(**SMALL, head="separate").analyze(session)


def test_only_training_images_cannot_calibrate(session):
    session.workbench._parts[("target", "val")] = session.workbench._parts[("target", "test")] = None
    with pytest.raises(InputError, match="val split"):
        InterferenceDetector(**SMALL).analyze(session)


def test_attempts_have_a_cost_and_the_first_is_the_refitted_head(session):
    report = written(InterferenceDetector(**SMALL, attempts=True).analyze(session), session)
    table, others = report.tables["attempts"], report.tables["comparison"]
    assert len(table.rows) == 9
    assert column(table, "auroc_presence")[0] == pytest.approx(column(others, "auroc_presence")[0], abs=1e-6)
    assert column(table, "specificity")[-1] == pytest.approx(column(others, "specificity")[4], nan_ok=True)
    assert all(1 < cost <= 2 for cost in column(table, "cost"))


def test_the_guarantee_over_a_thousand_splits():
    """200 clean scores, half of them calibrating by key: the other half is flagged at most at the promised rate."""
    scores = np.random.default_rng(0).beta(0.5, 3, 200)
    ids, rates = [f"{i}.jpg" for i in range(200)], []
    for seed in range(1000):
        calibrate, rest = calibration_share(ids, 0.5, seed)
        threshold = conformal_threshold(torch.from_numpy(scores[calibrate]), 0.1)
        rates.append((scores[rest] > threshold).mean())
    assert np.mean(rates) <= 0.1 + 3 * np.std(rates) / math.sqrt(1000)
    assert np.mean(rates) == pytest.approx(0.1, abs=0.015)


def found_with(scores, alpha=0.05, size=199, confidence=None, halves=None, **more):
    """Findings of a detector that flagged so many of 199 clean images, and options."""
    options = InterferenceDetector(alpha=alpha, confidence=confidence, **more)
    guarantee = SimpleNamespace(calibration_size=size, alpha=alpha if options.detect_p is None else None)
    file = SimpleNamespace(detect_p=options.detect_p or 0.4, guarantee=guarantee)
    flags = np.arange(199) < scores if scores is not None else np.zeros(0)
    shipped = SimpleNamespace(score=SimpleNamespace(lingering=[1]), file=file)
    settings = {"head": options.head or "refitted", "reduction": options.reduction or "sum", "deploy": options.deploy}
    chosen = SimpleNamespace(
        tpr=Estimate(math.nan),
        presence=Estimate(math.nan),
        false_alarms=share(flags),
        detector=SimpleNamespace(settings=settings),
    )
    groups = SimpleNamespace(seen={"lingering": []}, halves=halves)
    return options, SimpleNamespace(shipped=shipped, chosen=chosen, groups=groups, rivals=[])


def test_a_broken_promise_is_said():
    text = verdict(*found_with(23))
    assert (
        "it flagged 11.6 % [7.8, 16.7] of 199 clean images that had no part in it, more than the 5 % promised" in text
    )
    low, high = scipy.stats.beta.ppf([0.025, 0.975], 10, 190)  # k = 190 of 199
    assert f"flag {100 * low:.1f} % to {100 * high:.1f} % in 95 of 100 calibrations; so many flags are more" in text
    assert f"(p = {scipy.stats.betabinom.sf(22, 199, 10, 190):.2g})" in text
    few = verdict(*found_with(23, size=39))
    assert "more than the 5 % promised" in few and "so it may be the luck of this one (p = 0.067)" in few


def test_a_kept_promise_is_not_called_broken():
    assert "which the 5 % promised may well be" in verdict(*found_with(12))
    assert "fewer than the 5 % promised" in verdict(*found_with(0))
    assert "promised" not in verdict(*found_with(23, detect_p=0.4))
    without = verdict(*found_with(None))
    assert "no clean image is left to see how many" in without and "nan" not in without


def test_halves_that_judge_each_other_are_told_so():
    half = np.arange(199) % 2 == 0
    text = verdict(*found_with(23, halves=(half, ~half)))
    assert "11.6 % [7.8, 16.7] of 199 clean images were flagged, each half by the threshold of the other, more" in text
    p = 2 * scipy.stats.betabinom.sf(11, 100, 99 + 1 - 95, 95)  # 12 of 100 by k = 95 of 99
    assert f"(p = {p:.2g})" in verdict(*found_with(23, size=198, halves=(half, ~half)))


def test_the_bound_of_two_halves_holds_in_simulated_ones():
    """How often half of all flags are as many as the bound of 5 % allows, where nothing is wrong."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(2000):
        scores = rng.random(60)
        parts = scores[:30], scores[30:]
        above = [conformal_threshold(torch.from_numpy(part), 0.1) for part in parts]
        flagged = int((parts[0] > above[1]).sum() + (parts[1] > above[0]).sum())
        found += 2 * luck(30, 0.1, None, math.ceil(flagged / 2), 30)[2] < 0.05
    assert found / 2000 <= 0.05


def test_the_luck_of_a_calibration_is_what_simulated_ones_have():
    rng, rates, flagged = np.random.default_rng(0), [], []
    for _ in range(4000):
        threshold = conformal_threshold(torch.from_numpy(rng.random(60)), 0.1)
        rates.append(1 - threshold)
        flagged.append((rng.random(50) > threshold).sum())
    low, high, p = luck(60, 0.1, None, 9, 50)
    assert (low, high) == pytest.approx(np.percentile(rates, [2.5, 97.5]), abs=0.006)
    assert p == pytest.approx(np.mean(np.array(flagged) >= 9), abs=0.015)


def test_without_clean_images_to_judge_nothing_is_no_number(session):
    """Four images can promise a fifth, and two of them cannot."""
    report = InterferenceDetector(**{**SMALL, "alpha": 0.2}).analyze(session)
    assert report.metrics["calibration_size"] == 4 and math.isfinite(report.metrics["detect_p"])
    assert math.isnan(report.metrics["false_alarm_rate"])
    assert "half of the clean images are too few to see how many" in report.verdict
    assert not [text for text in (report.verdict, *report.notes, *report.gaps) if re.search(r"\bnan\b", text)]


def test_as_a_plugin():
    check_plugin(InterferenceDetector, **SMALL)


# --- what the verdict recommends ----------------------------------------------------------------------------


def rivals_of(*gains):
    """Rivals with (question, its detector, gain's ends); detectors by name as in a table."""
    head = {"deploy": None, "head": "refitted"}
    detectors = {
        "refitted, max": {**head, "reduction": "max"},
        "swapped, max": {"deploy": None, "head": "swapped", "reduction": "max"},
        "MSP": {"deploy": {"use": "msp"}, "detect_p": None},
        "kNN (k = 3)": {"deploy": {"use": "knn", "k": 3}, "detect_p": None},
    }
    made = {name: Detector(name, 1, None, settings) for name, settings in detectors.items()}
    return [Rival(of, made[name], 0.9, 0.8, Estimate((low + high) / 2, low, high)) for of, name, low, high in gains]


def standing(*gains, **options):
    asked, found = found_with(0, **options)
    found.rivals = rivals_of(*gains)
    return verdict(asked, found)


def advised(text):
    """The backticked settings of a text's last sentence, as a recipe would have them."""
    found = re.findall(r"`([^`]+)`", text.rpartition("Better all in all")[2])
    return {key: value for one in found for key, value in yaml.safe_load(one).items()}


@pytest.mark.parametrize(
    ("name", "options", "settings"),
    [
        ("refitted, max", {}, {"reduction": "max"}),
        ("swapped, max", {}, {"head": "swapped", "reduction": "max"}),
        ("MSP", {}, {"deploy": "msp"}),
        ("MSP", {"detect_p": 0.1}, {"deploy": "msp", "detect_p": None}),
        ("kNN (k = 3)", {}, {"deploy": {"use": "knn", "k": 3}}),
        ("refitted, max", {"deploy": {"use": "msp"}}, {"deploy": None, "reduction": "max"}),
    ],
)
def test_what_is_certainly_better_is_recommended_in_the_words_of_a_recipe(name, options, settings):
    component = installed().get("analyzer", "interference")
    asked = {**options, "deploy": detector_use(options["deploy"])} if "deploy" in options else options
    text = standing(("presence", name, 0.01, 0.2), ("harm", name, -0.1, 0.1), **asked)
    assert advised(text) == settings
    component.create({**options, **settings})  # an option of no such name or value would be refused


def test_nothing_is_recommended_that_is_certainly_worse_elsewhere_or_not_certainly_better():
    text = standing(("presence", "MSP", -0.3, -0.1), ("harm", "MSP", 0.1, 0.3))
    assert "MSP, `deploy: msp`: 0.900 against 0.800" in text and "Better all in all" not in text
    assert "certainly worse at another question" in text
    text = standing(("presence", "MSP", -0.01, 0.3), ("harm", "refitted, max", -0.1, 0.3))
    assert "could not be shown for any of the 2 questions" in text and "`" not in text


def test_the_one_that_wins_most_questions_is_recommended():
    gains = [("presence", "MSP", 0.1, 0.9), ("presence", "swapped, max", 0.1, 0.2), ("harm", "swapped, max", 0.1, 0.2)]
    assert advised(standing(*gains)) == {"head": "swapped", "reduction": "max"}


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "max"}, {"deploy": {"use": "energy"}}, {"detect_p": 0.2}], ids=str
)
def test_text_picture_table_and_file_are_of_one_detector(session, tmp_path, options):
    folder = in_folder(session, tmp_path / "model")
    options = {**options, "deploy": detector_use(options["deploy"])} if "deploy" in options else options
    report = InterferenceDetector(**SMALL, **options, install=True).analyze(session)
    file, metrics = transferkit.load(folder).interference, report.numbers
    shown = f"{file.detect_p:.3g}"
    assert f"flags scores above {shown};" in report.verdict and metrics["detect_p"] == file.detect_p
    assert f"threshold {shown}".replace("-", "−") in (session.out / "scores.svg").read_text().replace("-", "−")
    table = report.tables["comparison"]
    row = column(table, "threshold").index(file.detect_p)
    assert column(table, "tpr_presence")[row] == metrics["tpr_presence"]
    assert column(table, "false_alarms")[row] == metrics["false_alarm_rate"]
    assert metrics["watched"] == len(file.lingering) == len(report.tables.get("watched", Table(["class"], [])).rows)
    assert f"watches {len(file.lingering) or 'no'} " in report.verdict
    chosen = set(column(report.tables["classes"], "class"))
    assert not file.lingering or chosen <= set(file.indices)

"""The analyzer `spectrum` on tiny models, in a run with and without BSS, and where something is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from transferkit_spectrum import corresponding_angles
from transferkit_spectrum.analyzer import Spectrum
from transferkit_spectrum.angles import compare
from transferkit_spectrum.layers import Layer, binned, shown, weights
from transferkit_spectrum.measure import Features, Findings, validation
from transferkit_spectrum.report import metrics
from transferkit_spectrum.verdict import verdict

from tests.plugins.made_up_audit import column, written
from tests.training.conftest import recipe_file, registry, run, tiny_npz  # noqa: F401 - fixtures
from transferkit.analysis.workbench import Given
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin, tiny_analysis, tiny_model


@pytest.fixture
def session(tmp_path):
    return tiny_analysis(tmp_path)


def test_angles_of_every_layer_but_the_head(session):
    report = written(Spectrum(batch_size=4).analyze(session), session)
    now, start = session.model("target").net, session.model("source").net
    layers = {n: m for n, m in now.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)}
    layers.pop("fc")
    table = report.tables["angles"]
    assert column(table, "layer") == list(layers)
    expected = [corresponding_angles(m.weight, start.get_submodule(n).weight).mean().item() for n, m in layers.items()]
    np.testing.assert_allclose(column(table, "cosine"), expected)
    assert report.metrics["cosine"] == pytest.approx(np.mean(expected))
    moved = sum(float((m.weight - start.get_submodule(n).weight).double().square().sum()) for n, m in layers.items())
    length = sum(float(start.get_submodule(n).weight.double().square().sum()) for n in layers)
    assert report.metrics["relative_distance"] == pytest.approx((moved / length) ** 0.5, rel=1e-5)
    assert report.metrics["masked_directions"] == 0
    assert set(report.metrics) == set(Declared.of(Spectrum).metric_keys) and not report.gaps


def test_spectra_are_of_the_same_images_for_both_models(session):
    report = Spectrum(batch_size=4).analyze(session)
    order = session.rng("spectrum", "batches").permutation(4)
    for role in ("source", "target"):
        features = session.predictions(role, "target").features[order].double().numpy()
        expected = np.linalg.svd(features, compute_uv=False)
        np.testing.assert_allclose(column(report.tables["singular_values"], role), expected, rtol=1e-6)
        assert report.metrics[f"largest_{role}"] == pytest.approx(expected[0] ** 2 / (expected**2).sum())
        assert report.metrics[f"smaller_half_{role}"] == pytest.approx((expected[2:] ** 2).sum() / (expected**2).sum())
    assert column(report.tables["singular_values"], "smaller_half") == [False, False, True, True]


def test_a_model_against_itself_is_where_it_was(session):
    session.workbench.models["source"] = session.workbench.given("target")
    report = Spectrum(batch_size=4).analyze(session)
    assert report.metrics["cosine"] == pytest.approx(1) and report.metrics["relative_distance"] == 0
    assert report.metrics["principal_cosine"] == pytest.approx(1)
    assert "are exactly as they were" in report.verdict


def test_layers_can_be_chosen_and_best_pairs_are_no_worse(session):
    report = Spectrum(batch_size=4, layers=["layer1.*", "conv1.0"]).analyze(session)
    assert all(name.startswith("layer1.") or name == "conv1.0" for name in column(report.tables["angles"], "layer"))
    best = Spectrum(batch_size=4, layers=["layer1.*", "conv1.0"], match="optimal").analyze(session)
    assert best.metrics["cosine"] > report.metrics["cosine"]
    with pytest.raises(InputError, match=r'no layer is called "layre1\.0\.conv1"; did you mean'):
        Spectrum(layers=["layre1.0.conv1"]).analyze(session)


def test_without_a_source_model_and_with_few_images(session):
    del session.workbench.models["source"]
    report = written(Spectrum().analyze(session), session)
    assert report.verdict == "Neither weights nor features could be compared."
    assert all(math.isnan(value) for value in report.metrics.values())
    assert "no source model" in report.gaps[0]
    assert "there are 4 target images, fewer than a batch of 48; lower batch_size" in report.gaps[1]


def test_layers_without_a_counterpart_are_left_out(session):
    other = tiny_model(("x", "y"), name="test_vit")
    session.workbench.models["source"] = Given("other", lambda: (other, None))
    report = Spectrum(batch_size=4).analyze(session)
    assert "have no counterpart of the same shape" in report.gaps[0] and "angles" not in report.tables


def test_weights_that_are_no_numbers_cost_only_themselves(session):
    with torch.no_grad():
        session.model("target").net.conv1[0].weight.fill_(torch.nan)
    report = Spectrum(batch_size=4).analyze(session)
    assert any("The layer conv1.0 is left out: the weight has values that are NaN" in gap for gap in report.gaps)
    assert any("features of target were not measured" in gap for gap in report.gaps)
    assert "conv1.0" not in column(report.tables["angles"], "layer")


def test_an_audit_has_no_stages_to_compare(session):
    report = written(Spectrum(batch_size=4, compare=["bss"], sweep=["bss"]).analyze(session), session)
    assert "an audit has no stages" in report.gaps[0] and 'The sweep has no stage "bss"' in report.gaps[1]
    assert report.metrics["cosine"] > 0


def test_a_run_with_and_without_bss(run):  # noqa: F811
    stage = {
        "dataset": "tiny",
        "batch_size": 8,
        "workers": 0,
        "epochs": 2,
        "optimizer": {"name": "momentum", "lr": 0.01},
    }
    stages = [stage | {"name": "first", "start": "scratch"}, stage | {"name": "plain", "start": "first"}]
    for k in (1, 4):
        bss = {"regularizers": [{"use": "bss", "weight": 0.3, "k": k}]}
        stages.append(stage | bss | {"name": f"bss{k}", "start": "first"})
    names = ["plain", "bss1", "bss4"]
    use = {"use": "spectrum", "stage": "plain", "batch_size": 8, "compare": names, "sweep": names}
    result = run(top={"stages": stages, "analyses": [use]})
    folder = Path(result.run_dir) / "analyses" / "spectrum"
    report = json.loads((folder / "report.json").read_text())
    assert [row[:2] for row in report["tables"]["spectra"]["rows"]] == [
        ["source", False],
        ["target", False],
        ["bss1", True],
        ["bss4", True],
    ]
    rows = {row[0]: row for row in report["tables"]["sweep"]["rows"]}
    assert report["tables"]["sweep"]["columns"][6:] == ["share_smallest_1", "share_smallest_4"]
    assert [rows[name][1:4] for name in names] == [[None, 0, ""], [1, 0.3, "absolute"], [4, 0.3, "absolute"]]
    assert all(0 <= rows[name][4] <= 1 and 0 <= rows[name][6] <= rows[name][7] for name in names)
    assert rows["bss4"][7] < rows["plain"][7]  # what is penalised shrinks
    assert report["gaps"] == []
    assert set(report["figures"]) == {path.name for path in folder.glob("*.svg")} and "sweep.svg" in report["figures"]


def test_collapsed_features_are_named():
    rows = np.array([[100.0, 0.1, 0.1], [90.0, 0.2, 0.0]])
    found = Findings([], [Features("target", rows, 10)], [], [])
    assert metrics(found)["collapsed"] == 1
    assert "features of target have collapsed: the largest singular value carries 100.00 %" in verdict(
        found, Spectrum()
    )
    alive = Findings([], [Features("target", np.array([[10.0, 5.0, 1.0]]), 10)], [], [])
    assert metrics(alive)["collapsed"] == 0 and "collapsed" not in verdict(alive, Spectrum())


def shrunk(before, after):
    """The sentence on spectra of two singular values, whose smaller ones have these shares of the energy."""
    rows = [np.sqrt([[1 - share, share] for share in shares]) for shares in (before, after)]
    found = Findings([], [Features(n, r, 10) for n, r in zip(("source", "target"), rows, strict=True)], [], [])
    return metrics(found)["smaller_half_change"], verdict(found, Spectrum(batch_size=2))


def test_whether_energy_moved_is_said_over_batches():
    before, after = [0.2, 0.3, 0.1, 0.25], [0.15, 0.22, 0.06, 0.2]
    change, text = shrunk(before, after)
    low, high = scipy.stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (change.low, change.high) == pytest.approx((low, high))
    assert (
        "carries 16 % of the energy of the features, 21 % before fine-tuning: less than before, by -5.5 points" in text
    )
    assert ": more than before, by +5.5 points" in shrunk(after, before)[1]
    assert "the two could not be told apart" in shrunk(before, [0.25, 0.2, 0.15, 0.22])[1]
    assert "it cannot be said whether that changed" in shrunk([0.2], [0.1])[1]


def test_where_nothing_shrank_less_energy_is_rarely_called():
    rng = np.random.default_rng(0)
    shares = rng.beta(4, 30, (1000, 2, 6))
    changes = [shrunk(*pair)[0] for pair in shares]
    assert np.mean([change.above(0) or change.below(0) for change in changes]) <= 0.07


def test_early_evaluations_of_a_part_do_not_count():
    history = [
        {"split": "val", "step": 0, "top1": 1.0, "images": 4},
        {"split": "train", "step": 5, "top1": 0.9, "images": 30},
        {"split": "val", "step": 10, "top1": 0.6, "images": 12},
        {"split": "val", "step": 5, "top1": 0.7, "images": 12},
        {"split": "val", "step": 15, "top1": None, "images": 12},
    ]
    assert validation(history) == [0.7, 0.6] and validation([]) == []


def test_chance_levels_match_random_directions():
    rng = np.random.default_rng(0)
    start, now = (torch.from_numpy(rng.normal(size=(12, 400))) for _ in range(2))
    layer = Layer("x", (12, 400), compare(now, start))
    directions = rng.normal(size=(20000, 12))
    assert layer.chance == pytest.approx(np.abs(directions[:, 0] / np.linalg.norm(directions, axis=1)).mean(), rel=0.02)
    assert layer.principal_chance == pytest.approx(0.5**0.5)
    squares = [np.mean(compare(*(torch.from_numpy(rng.normal(size=(12, 40))) for _ in range(2))).principal ** 2)
               for _ in range(200)]  # fmt: skip
    assert np.mean(squares) == pytest.approx(0.5, rel=0.05)
    assert Layer("x", (1, 5), compare(now[:1, :5], start[:1, :5])).chance == pytest.approx(1)


def test_bins_by_hand():
    np.testing.assert_allclose(binned(np.array([1.0, 0.5, 0.25, 0.0]), 2), [0.75, 0.125])
    np.testing.assert_allclose(binned(np.array([1.0, 0.5]), 4), [1, 1, 0.5, 0.5])
    np.testing.assert_allclose(binned(np.array([1.0, np.nan, np.nan, np.nan]), 2), [1, np.nan])
    np.testing.assert_allclose(binned(np.array([0.2, 0.4, 0.9]), 1), [0.5])


def test_the_layers_of_the_figure_are_the_first_and_the_last():
    layers = [Layer(str(i), (1, 1), compare(torch.ones(1, 1), torch.ones(1, 1))) for i in range(9)]
    assert [[layer.name for layer in part] for part in shown(layers)] == [["0", "1", "2", "3"], ["6", "7", "8"]]
    assert [[layer.name for layer in part] for part in shown(layers[:5])] == [["0", "1", "2", "3"], ["4"]]
    assert [len(part) for part in shown(layers[:2])] == [2, 0]


def test_layers_of_a_vision_transformer():
    names = list(weights(tiny_model(name="test_vit")))
    assert "patch_embed.proj" in names and "blocks.0.attn.qkv" in names and "head" not in names


def test_promises():
    check_plugin(Spectrum)
    check_plugin(Spectrum, batch_size=4, match="optimal")
    component = installed().get("analyzer", "spectrum")
    assert component.hooks == ["analyze"] and component.create({}) == Spectrum()


@pytest.mark.parametrize("name", ["spectrum", "distance"])
def test_every_option_and_metric_is_on_the_card(name):
    import importlib

    package = importlib.import_module(f"transferkit_{name}")
    card = Path(package.__file__).with_name("README.md").read_text(encoding="utf-8")
    kinds = {"spectrum": [("analyzer", "spectrum"), ("regularizer", "tsvd")],
             "distance": [("analyzer", "distance"), ("observer", "distance")]}[name]  # fmt: skip
    for kind, known in kinds:
        component = installed().get(kind, known)
        for option, info in component.options.model_fields.items():
            assert info.description and f"`{option}`" in card, option
        for metric in Declared.of(component.cls).metric_keys:
            assert f"`{metric}`" in card, metric
    assert all(f"**{heading}" in card for heading in ("Claim", "Equation", "Cost", "Limits", "Function", "Source"))
    assert all(f"{function}(" in card for function in package.__all__)
    for module in Path(package.__file__).parent.glob("[a-z]*.py"):
        importlib.import_module(f"{package.__name__}.{module.stem}")
    assert all(callable(getattr(package, function)) for function in package.__all__)


def test_importing_packages_and_options_does_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys, transferkit_spectrum, transferkit_distance\n"
        "from transferkit.plugins.registry import installed\n"
        "for kind, name in (('analyzer', 'spectrum'), ('regularizer', 'tsvd'), ('analyzer', 'distance'), "
        "('observer', 'distance')): installed().get(kind, name).options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

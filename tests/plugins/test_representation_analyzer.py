"""The analyzer `representation`: what it reports follows from the models' outputs; chains, views, cache, gaps."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
import yaml
from transferkit_representation import collect as passes
from transferkit_representation import looks
from transferkit_representation.analyzer import Representation
from transferkit_representation.collect import flattened
from transferkit_representation.looks import parts_of
from transferkit_representation.measure import Probed, participation_ratios
from transferkit_representation.spectra import participation_ratio, participation_without, singular_values
from transferkit_representation.verdict import _of_data as verdict_of

from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.api import execute
from transferkit.data import world
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import discover, installed
from transferkit.recipe import load_recipe
from transferkit.recipe.schema import Dataset
from transferkit.statistics import ratio, share
from transferkit.testing import tiny_model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

from .made_up_audit import column, written
from .test_representation import hsic, oracle

ROLES = {"source": "before", "target": "after"}


def session(folder, *, cache=None, images=4, models=None, source_data="source"):
    """A session around tiny models that were not trained; 48 source images."""
    if models is None:
        models = {"source": tiny_model(world.SOURCE_CLASSES), "target": tiny_model(world.TARGET_CLASSES, seed=1)}
    spec = {kind: {"world": {"kind": kind, "train": 2, "val": images, "size": 32}} for kind in ("source", "target")}
    bench = Workbench(
        models={role: Given(f"tiny {role}", partial(_given, model)) for role, model in models.items()},
        datasets={kind: Dataset.model_validate(section) for kind, section in spec.items()},
        source_data=source_data,
        target_data="target",
        seed=0,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=cache if cache is not None else Cache(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    return AnalysisSession(bench, folder, "representation")


def _given(model):
    return model, None


def outputs(model, images, layers):
    """{layer: what it returns}, by plain hooks; the features as "pooled features"."""
    found, net = {}, model.net.eval()
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: found.update({name: out.clone()}))
        for name in layers
    ]
    with torch.no_grad():
        found["pooled features"] = net.forward_head(net.forward_features(images), pre_logits=True)
    for hook in hooks:
        hook.remove()
    return {name: found[name] for name in [*layers, "pooled features"]}


def rows(report, table, **where):
    """The rows of a table as mappings, those with these values."""
    found = [dict(zip(report.tables[table].columns, row, strict=True)) for row in report.tables[table].rows]
    return [row for row in found if all(row[key] == value for key, value in where.items())]


def test_numbers_follow_from_the_outputs(tmp_path):
    looked = session(tmp_path)
    options = Representation(layers=["layer1", "layer3"], images=40, batch_size=16, folds=4)
    report = written(options.analyze(looked), looked)
    samples = looked.samples("source")
    order = looked.rng("representation", "images").permutation(48)[:40]
    images = torch.stack([samples.get(int(i), 0)[0] for i in order])
    names = ["layer1", "layer3", "pooled features"]
    both = {role: outputs(looked.model(role), images, names[:2]) for role in ROLES}
    assert report.tables["cka"].columns == ["layer", *names]
    assert column(report.tables["cka"], "layer") == names
    found = np.array([row[1:] for row in report.tables["cka"].rows])

    def mean(x, y):  # of the two full batches
        parts = [slice(0, 16), slice(16, 32)]
        flat = [[side[part].flatten(1).double().numpy() for side in (x, y)] for part in parts]
        return np.mean([hsic(a - a.mean(axis=0), b - b.mean(axis=0), "unbiased") for a, b in flat])

    for i, before in enumerate(both["source"].values()):
        for j, after in enumerate(both["target"].values()):
            expected = mean(before, after) / math.sqrt(mean(before, before) * mean(after, after))
            assert found[i, j] == pytest.approx(expected, abs=1e-5)
    assert report.metrics["cka_diagonal"] == pytest.approx(found.diagonal().mean())
    assert report.metrics["cka_diagonal_least"] == pytest.approx(found.diagonal().min())
    assert report.metrics["cka_features"] == found[2, 2]
    for role, model in ROLES.items():
        for name, output in both[role].items():
            pooled = output.mean(dim=(2, 3)) if output.dim() == 4 else output
            pooled = pooled.double().numpy()
            values = np.linalg.svd(pooled - pooled.mean(axis=0), compute_uv=False)
            (row,) = rows(report, "rank", layer=name, model=model)
            assert (row["n"], row["d"], row["ceiling"]) == (40, pooled.shape[1], min(39, pooled.shape[1]))
            assert row["numerical_rank"] == (values > 1e-3 * values[0]).sum()
            assert row["at_ceiling"] is (row["numerical_rank"] == row["ceiling"])
            assert row["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-5)
            assert row["participation_ratio"] == pytest.approx((values**2).sum() ** 2 / (values**4).sum(), rel=1e-5)
    labels = samples.labels[order]
    for row in rows(report, "probe"):
        assert row["data"] == "source" and row["images"] == 40
        assert row["classes"] == len(set(labels)) and row["chance"] == np.bincount(labels).max() / 40
        assert row["change"] == pytest.approx(row["after"] - row["before"])
        assert row["change_low"] <= row["change"] <= row["change_high"]
        assert round(40 * row["after"], 9) == int(round(40 * row["after"], 9))
    assert set(report.metrics) == set(Declared.of(Representation).metric_keys)
    assert "CKA" in report.verdict and "linear probe" in report.verdict
    assert not report.gaps


def test_intervals_are_of_classes_and_of_batches(tmp_path):
    looked = session(tmp_path)
    report = Representation(layers=["layer2"], images=48, batch_size=16, folds=4).analyze(looked)
    samples = looked.samples("source")
    order = looked.rng("representation", "images").permutation(48)
    images = torch.stack([samples.get(int(i), 0)[0] for i in order])
    labels = samples.labels[order]
    both = [outputs(looked.model(role), images, ["layer2"]) for role in ROLES]

    def estimate(batches):  # one batch's HSIC is left out
        terms = []
        for one, other in ((0, 1), (0, 0), (1, 1)):
            flat = [[both[k]["layer2"][b * 16 : b * 16 + 16].flatten(1).double().numpy() for b in batches]
                    for k in (one, other)]  # fmt: skip
            terms.append(np.mean([hsic(x - x.mean(0), y - y.mean(0), "unbiased") for x, y in zip(*flat, strict=True)]))
        return terms[0] / math.sqrt(terms[1] * terms[2])

    without = np.array([estimate([b for b in range(3) if b != out]) for out in range(3)])
    error = math.sqrt(2 / 3 * np.square(without - estimate(range(3))).sum())
    (row,) = rows(report, "compared", layer="layer2")
    assert row["cka_high"] - row["cka"] == pytest.approx(scipy.stats.t.ppf(0.975, 2) * error, rel=1e-3)

    def change(kept):
        used = [side["pooled features"].double()[torch.from_numpy(kept)] for side in both]
        return participation_ratio(used[1]) / participation_ratio(used[0])

    everything = np.ones(48, dtype=bool)
    logs = np.log([change(labels != c) for c in np.unique(labels)])
    error = math.sqrt(11 / 12 * np.square(logs - math.log(change(everything))).sum())
    high = change(everything) * math.exp(scipy.stats.t.ppf(0.975, 11) * error)
    assert report.metrics["participation_change"] == pytest.approx(change(everything), rel=1e-5)
    assert report.metrics["participation_change_high"] == pytest.approx(high, rel=1e-3)
    (probe,) = rows(report, "probe", layer="pooled features")
    assert probe["before_low"] < probe["before"] < probe["before_high"]


def probed(before, after, chance):
    """What is said of a probe with these answers to images of twelve classes."""
    classes = np.arange(len(before)) % 12
    change = ratio(after.astype(float) - before, np.ones(len(before)), classes)
    shares = share(before, classes), share(after, classes)
    return verdict_of(Probed("f", "x", len(before), 12, *shares, 1.0, 1.0, change, chance))


def test_a_probe_at_chance_and_a_change_that_is_none_are_said():
    rng = np.random.default_rng(0)
    good, bad = rng.random(240) < 0.6, rng.random(240) < 0.1
    assert "(chance 10.0 %, which it may well be)" in probed(good, bad, 0.1) and ": fewer, by -" in probed(
        good, bad, 0.1
    )
    assert ": more, by +" in probed(bad, good, 0.1) and "may well" not in probed(bad, good, 0.1)
    assert "could not be told apart" in probed(good, rng.permutation(good), 0.1)


def test_where_nothing_changed_fewer_dimensions_are_rarely_called():
    """Two models that see twelve classes, each with noise of its own: of the classes, not of single images."""
    rng, called = np.random.default_rng(0), []
    labels = torch.arange(12).repeat(5)
    for _ in range(300):
        common = rng.normal(size=(12, 6)) * [4, 2, 1, 1, 1, 1]
        sides = [torch.from_numpy((common + rng.normal(size=(12, 6)))[labels] + rng.normal(size=(60, 6))) for _ in "ab"]
        tensors = {"labels": labels}
        for role, side in zip(ROLES, sides, strict=True):
            tensors[f"spectrum.{role}.0"] = singular_values(side)
            tensors[f"without.{role}.0"] = participation_without(side, parts_of(labels))
        looked = SimpleNamespace(tensors=tensors, labels=labels)
        found = participation_ratios(looked, {role: ["f"] for role in ROLES})["f"]
        called.append(found.above(1) or found.below(1))
    assert np.mean(called) <= 0.08


def test_a_model_against_itself(tmp_path):
    model = tiny_model(world.SOURCE_CLASSES)
    looked = session(tmp_path, models={"source": model, "target": model})
    report = Representation(batch_size=16).analyze(looked)
    values = torch.tensor([row[1:] for row in report.tables["cka"].rows], dtype=torch.float64)
    torch.testing.assert_close(values.diagonal(), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(values, values.T)
    metrics = report.metrics
    assert metrics["rank_ratio"] == metrics["stable_rank_ratio"] == metrics["participation_ratio_ratio"] == 1
    assert metrics["probe_change"] == 0
    assert report.verdict.count("could not be told apart") == 2 and "more" not in report.verdict


def test_all_images_at_once_in_one_pass_or_in_several(tmp_path):
    looked = session(tmp_path)
    samples = looked.samples("source")
    once = Representation(estimator="biased", batch_size=16, layers=["layer2"]).analyze(looked)
    images = torch.stack([samples.get(i, 0)[0] for i in range(48)])
    both = [list(outputs(looked.model(role), images, ["layer2"]).values()) for role in ROLES]
    expected = [[oracle(x, y, "biased") for y in both[1]] for x in both[0]]
    np.testing.assert_allclose([row[1:] for row in once.tables["cka"].rows], expected, atol=1e-5)
    again = Representation(estimator="biased", batch_size=16, layers=["layer2"], memory=1.5e-4)
    report = again.analyze(session(tmp_path))
    np.testing.assert_allclose([row[1:] for row in report.tables["cka"].rows], expected, atol=1e-5)
    assert any("in 3 passes" in note for note in report.notes)
    assert not any("passes" in note for note in once.notes)


@pytest.mark.parametrize("view", ["gap", "flatten", "tokens"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_views(tmp_path, name, view):
    options = {} if name == "test_resnet" else {"img_size": 32}
    model = tiny_model(world.SOURCE_CLASSES, name=name, **options)
    looked = session(tmp_path, models={"source": model, "target": model})
    report = Representation(view=view).analyze(looked)
    first = report.tables["rank"].rows[0][0]
    images = torch.stack([looked.samples("source").get(i, 0)[0] for i in range(48)])
    tokens = outputs(model, images, [first])[first]
    tokens = tokens.flatten(2).transpose(1, 2) if tokens.dim() == 4 else tokens[:, 1:]  # no class token
    expected = {"gap": tokens.mean(1), "flatten": tokens.flatten(1), "tokens": tokens.flatten(0, 1)}[view].double()
    values = torch.linalg.svdvals(expected - expected.mean(dim=0))
    (row,) = rows(report, "rank", layer=first, model="after")
    assert row["n"] == len(expected)
    if expected.shape[1] <= 8192:
        assert row["d"] == expected.shape[1]
        assert row["numerical_rank"] == int((values > 1e-3 * values[0]).sum())
        assert row["stable_rank"] == pytest.approx(float(values.square().sum() / values[0] ** 2), rel=1e-4)
    else:
        assert row["d"] <= 8192
    (probe,) = rows(report, "probe", layer=first)
    assert 0 <= probe["after"] <= 1


def test_neighbouring_positions_are_averaged_where_there_are_many():
    first = torch.arange(2 * 3 * 4 * 4).float().reshape(2, 3, 4, 4)
    expected = first.flatten(2).transpose(1, 2)
    small = flattened(expected, (4, 4), widest=13)  # 2 x 2 positions of 3 channels
    assert torch.equal(small, torch.nn.functional.avg_pool2d(first, 2).flatten(1))
    assert flattened(expected, None, widest=13).shape == (2, 12)
    assert flattened(expected, (4, 4), widest=1).shape == (2, 3)
    assert torch.equal(flattened(expected, (4, 4)), first.flatten(1))


def test_thresholds_and_more_data_sets_need_no_further_pass(tmp_path, monkeypatch):
    seen, real = [], passes.collect

    def counted(looked, plan, similar, description):
        seen.append(description)
        return real(looked, plan, similar, description)

    monkeypatch.setattr(looks, "collect", counted)
    cache = Cache()
    for tau in (1e-3, 0.3):
        report = Representation(tau=tau).analyze(session(tmp_path, cache=cache))
    assert len(seen) == 1
    assert report.metrics["rank_at_ceiling"] < 1
    report = Representation(probe_data=["source", "target"]).analyze(session(tmp_path, cache=cache))
    assert seen == ["layers of both models on source", "layers of both models on target"]
    assert set(column(report.tables["probe"], "data")) == {"source", "target"}
    Representation(batch_size=16).analyze(session(tmp_path, cache=cache))
    assert len(seen) == 3


def test_ceiling_everywhere_is_said(tmp_path):
    report = Representation(images=12).analyze(session(tmp_path))
    assert report.metrics["rank_at_ceiling"] == 1.0
    assert any("at its ceiling everywhere" in note and "participation ratio" in note for note in report.notes)
    report = Representation(tau=0.3).analyze(session(tmp_path))
    assert not any("ceiling everywhere" in note for note in report.notes)


def test_without_a_source_model(tmp_path):
    looked = session(tmp_path, models={"target": tiny_model(world.TARGET_CLASSES)}, source_data=None)
    report = written(Representation().analyze(looked), looked)
    assert "cka" not in report.tables and report.figures == ["layers.svg"]
    assert any("no model from before" in gap for gap in report.gaps)
    assert math.isnan(report.metrics["cka_diagonal"]) and math.isnan(report.metrics["probe_before"])
    assert report.metrics["probe_after"] >= 0
    assert set(column(report.tables["probe"], "data")) == {"target"}
    assert {row["model"] for row in rows(report, "rank")} == {"after"}
    assert set(report.metrics) == set(Declared.of(Representation).metric_keys)


def test_two_architectures_of_two_sizes(tmp_path):
    vit = tiny_model(world.SOURCE_CLASSES, name="test_vit", img_size=32)
    looked = session(tmp_path, models={"source": vit, "target": tiny_model(world.TARGET_CLASSES)}, source_data="target")
    report = written(Representation().analyze(looked), looked)
    assert any("different layers" in gap for gap in report.gaps)
    assert len(report.tables["cka"].rows[0]) - 1 == 5
    assert report.metrics["cka_features"] == report.metrics["cka_diagonal"]  # they share the pooled features alone


def test_layers_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r'tiny source.*no layer "layer9"'):
        Representation(layers=["layer1", "layer9"]).analyze(session(tmp_path))
    with pytest.raises(InputError, match="sqares"):
        Representation(corrupted="sqares").analyze(session(tmp_path))


def test_a_model_without_listed_stages(tmp_path):
    model = tiny_model(world.SOURCE_CLASSES)
    model.net.feature_info = []
    looked = session(tmp_path, models={"source": model, "target": model})
    report = Representation().analyze(looked)
    assert column(report.tables["cka"], "layer") == ["pooled features"]
    assert any("Only the pooled features" in gap for gap in report.gaps)


def test_broken_and_dead_layers(tmp_path):
    broken, dead = tiny_model(world.SOURCE_CLASSES), tiny_model(world.SOURCE_CLASSES, seed=1)
    with torch.no_grad():
        next(p for name, p in broken.net.named_parameters() if name.startswith("layer4")).fill_(math.nan)
        for part in dead.net.layer4.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.zero_()
                part.bias.zero_()
        for part in dead.net.layer3.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.zero_()
                part.bias.zero_()
    looked = session(tmp_path, models={"source": broken, "target": dead})
    report = written(Representation(layers=["layer1", "layer4"]).analyze(looked), looked)
    assert np.isfinite(report.tables["cka"].rows[0][1])
    assert all(math.isnan(value) for value in report.tables["cka"].rows[1][1:])
    assert any("layer4 before: its outputs are not finite" in gap for gap in report.gaps)
    assert any(gap.startswith("No rank and no probe for layer4 before") for gap in report.gaps)
    (row,) = rows(report, "rank", layer="layer4", model="before")
    assert math.isnan(row["numerical_rank"])
    json.dumps(report.metrics)


def test_too_few_images(tmp_path):
    looked = session(tmp_path, models={"source": tiny_model(), "target": tiny_model(seed=1)}, images=1)
    report = written(Representation().analyze(session(tmp_path, images=1)), looked)
    assert report.metrics["probe_after"] == 0.0  # one image per class: none has been seen
    report = Representation(split="val").analyze(session(tmp_path, images=1, source_data="target"))
    assert not report.gaps or all("needs" in gap for gap in report.gaps)


def test_registered_described_and_without_torch():
    component = installed().get("analyzer", "representation")
    check_signatures(component.cls)
    assert component.hooks == ["analyze"] and not hasattr(component.cls, "standard_audit")
    component.create({})
    package = import_module("transferkit_representation")
    card = Path(package.__file__).with_name("README.md").read_text(encoding="utf-8")
    for option, info in component.options.model_fields.items():
        assert info.description, option
        assert f"| `{option}` |" in card, option
    assert all(f"`{metric}`" in card for metric in Declared.of(component.cls).metric_keys)
    assert all(f"{name}(" in card for name in package.__all__)
    code = (
        "import sys, transferkit_representation\nfrom transferkit.plugins.registry import installed\n"
        "installed().get('analyzer', 'representation').options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for module in Path(package.__file__).parent.glob("[a-z]*.py"):
        import_module(f"transferkit_representation.{module.stem}")
    assert all(callable(getattr(package, name)) for name in package.__all__)


@dataclass
class Corner:
    """Paints over most of every image in its class's grey."""

    def corrupt(self, image, label):
        image.paste((20 * label, 20 * label, 20 * label), (0, 0, 24, 24))
        return image


def test_a_chain_of_stages(tmp_path):
    """pretrain from scratch, erode from there on marked images: compared on clean ones, probed on both."""
    registry = discover()
    registry.add("corruption", "corner", Corner, Owner("test", "test-plugins", "1.0"))
    stage = {"epochs": 1, "batch_size": 16, "workers": 0, "optimizer": {"name": "adamw", "lr": 4e-3}}
    recipe = {
        "name": "chain",
        "device": "cpu",
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 32}},
        "datasets": {
            "clean": {"world": {"kind": "source", "train": 4, "val": 8, "size": 32}},
            "marked": {"from": "clean", "corruptions": [{"use": "corner"}]},
        },
        "stages": [
            {"name": "pretrain", "start": "scratch", "dataset": "clean", **stage},
            {"name": "erode", "start": "pretrain", "dataset": "marked", **stage},
        ],
        "analyses": [
            {"use": "representation", "stage": "erode", "dataset": "clean", "corrupted": "marked", "batch_size": 32},
            {"use": "representation", "name": "first", "stage": "pretrain", "dataset": "clean"},
            {"use": "representation", "name": "plain", "stage": "erode", "dataset": "clean", "corrupted": "clean"},
        ],
    }
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    result = execute(load_recipe(path, registry=registry), out=tmp_path / "runs", quiet=True)

    def report(name):
        return json.loads((Path(result.run_dir) / "analyses" / name / "report.json").read_text(encoding="utf-8"))

    found = report("representation")
    assert not found["gaps"]
    assert found["figures"] == ["cka.svg", "layers.svg"]
    assert len(found["tables"]["cka"]["rows"]) == 5
    assert all(isinstance(found["metrics"][name], float) for name in Declared.of(Representation).metric_keys)
    probed = [
        dict(zip(found["tables"]["probe"]["columns"], row, strict=True)) for row in found["tables"]["probe"]["rows"]
    ]
    assert [row["data"] for row in probed] == ["clean"] * 5 + ["marked"] * 5
    assert all(row["images"] == 96 and row["classes"] == 12 for row in probed)
    assert probed[5]["after"] > probed[0]["after"] + 0.2  # the mark can be read
    assert any("no model from before" in gap for gap in report("first")["gaps"])
    assert any('"clean" has no planted corruption' in gap for gap in report("plain")["gaps"])


@pytest.mark.real_data
def test_real_model_and_images(real_data, tmp_path):
    from .test_audit_packages import real_session

    looked = real_session(real_data, tmp_path)
    report = Representation(batch_size=6, folds=2).analyze(looked)
    values = np.array([row[1:] for row in report.tables["cka"].rows])
    np.testing.assert_allclose(values.diagonal(), 1, atol=1e-6)
    assert values[0, -1] < values[-2, -1]
    assert report.metrics["probe_after"] > 0.6  # tench, cock and brambling, 12 images

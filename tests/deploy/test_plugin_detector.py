"""A plugin's detector in a model folder: written, opened, exported; and everything that does not fit refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from transferkit_interference import conformal_threshold
from transferkit_interference.analyzer import InterferenceDetector
from transferkit_lingering.analyzer import Lingering

import transferkit
from transferkit.analysis import NamedDetector
from transferkit.analysis.workbench import Given
from transferkit.deploy.interference import DETECTOR, read_interference, write_interference
from transferkit.deploy.plugin_detector import open_detector
from transferkit.deploy.portable import open_onnx
from transferkit.errors import InputError
from transferkit.model.folder import open_model, save_model
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry, installed
from transferkit.serving.engine import Outputs
from transferkit.serving.schema import Predictor
from transferkit.testing import tiny_analysis, tiny_images

SMALL = {"alpha": 0.34, "composite_classes": 3, "composites_per_class": 2, "bootstrap": 0, "install": True}


def guarded(tmp_path, deploy, **options):
    """(folder, session, report) after `interference` has written that detector."""
    session = tiny_analysis(tmp_path / "run" / "analyses")
    session.peers = {"lingering": Lingering(k=1, v_lo=0, p_lo=0.0)}
    model, head = session.workbench.models["target"].opened
    folder = save_model(tmp_path / "model", model, head)
    session.workbench.models["target"] = Given("target", partial(open_model, folder), folder=folder)
    return folder, session, InterferenceDetector(**SMALL, deploy=deploy, **options).analyze(session)


def column(report, name):
    table = report.tables["comparison"]
    return [row[list(table.columns).index(name)] for row in table.rows]


def test_energy_needs_no_file_and_names_nothing(tmp_path):
    folder, _, report = guarded(tmp_path, "energy")
    assert not (folder / DETECTOR).exists() and not (folder / "interference_head.safetensors").exists()
    loaded, images = transferkit.load(folder), tiny_images(4)
    found = loaded(images)
    torch.testing.assert_close(found.score, -loaded.model(images).logits.logsumexp(dim=1))
    assert torch.equal(found.logits, loaded.model(images).logits)
    assert found.source_class.tolist() == [-1] * 4 and loaded.interference.lingering == []
    assert found.flag.tolist() == [score > loaded.interference.detect_p for score in found.score.double().tolist()]
    predictor = Predictor("m", loaded.classes, loaded.interference)
    outputs = Outputs(*(found_part[:1].numpy() for found_part in (found.logits, found.score, found.source_class)))
    assert predictor.prediction(None, outputs, 1).source_class is None
    assert "The detector energy watches no class" in report.verdict and np.isnan(report.metrics["named"])


def test_the_threshold_is_conformal_on_the_calibration_images(tmp_path):
    folder, session, report = guarded(tmp_path, {"use": "knn", "k": 2, "share": 1})
    loaded, samples = transferkit.load(folder), session.samples("target", "val")
    images = torch.stack([samples.get(i, 0)[0] for i in range(len(samples))])
    scores = loaded(images).score.double()
    expected = conformal_threshold(scores, 0.34)
    assert loaded.interference.detect_p == pytest.approx(expected, abs=1e-5)
    assert loaded.interference.detect_p == report.metrics["detect_p"]
    np.testing.assert_allclose(loaded.interference.calibration.scores, sorted(scores.tolist()), atol=1e-5)
    assert loaded.interference.guarantee.alpha == 0.34 and loaded.interference.schema_version == 2
    record = loaded.interference.detector
    assert (record.plugin, record.options) == ("knn", {"k": 2, "share": 1.0}) and record.tensors == 2
    title = "kNN (k = 2)"
    assert title in column(report, "detector") and len(column(report, "detector")) == 6 + 10
    assert report.numbers["auroc_presence"] == column(report, "auroc_presence")[column(report, "detector").index(title)]


@pytest.mark.parametrize("deploy", ["react", {"use": "kernel_map", "inner": True, "images": 20}])
def test_the_graph_has_the_detector_inside(tmp_path, deploy):
    folder, _, _ = guarded(tmp_path, deploy)
    from transferkit.deploy.export import export_model, verify_export

    made = export_model(folder, "onnx", inputs=["floats"], max_batch=8)
    loaded, images = transferkit.load(folder), tiny_images(5, 9)
    answers = open_onnx(made.path)(images.numpy())
    found = loaded(images)
    np.testing.assert_allclose(answers["score"], found.score.numpy(), atol=1e-4)
    assert answers["source_class"].tolist() == found.source_class.tolist()
    verify_export(folder / "exports", model_dir=folder)
    watched = set(loaded.interference.indices) or {-1}
    assert set(found.source_class.tolist()) <= watched
    # on a device a detector keeps its precision, and a model of half precision its answer
    half = loaded.to(torch.bfloat16)(images)
    assert half.score.dtype == torch.float32 and loaded.module.detector.inner.bias.dtype == torch.float32


def test_an_earlier_detector_is_replaced_by_the_other_kind_and_back(tmp_path):
    folder, session, _ = guarded(tmp_path, "vim")
    assert transferkit.load(folder).interference.score.model == "detector"
    InterferenceDetector(**SMALL).analyze(session)
    content = json.loads((folder / "interference.json").read_text())
    assert "detector" not in content and content["schema_version"] == 1
    assert transferkit.load(folder).interference.score.model == "refitted"


def refused(folder, match):
    with pytest.raises(InputError, match=match) as error:
        transferkit.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_changed_missing_and_lonely_files(tmp_path):
    folder, _, _ = guarded(tmp_path, "vim")
    path = folder / DETECTOR
    bytes_ = path.read_bytes()
    path.write_bytes(bytes_[:-1] + bytes([bytes_[-1] ^ 1]))
    refused(folder, "not the file that the detector was made for")
    path.unlink()
    refused(folder, "missing, though interference.json names it")
    path.write_bytes(bytes_)
    assert transferkit.load(folder).guarded
    (folder / "interference.json").unlink()
    refused(folder, f"has {DETECTOR} of a detector and no interference.json")


@dataclass
class Other:
    """What another version might be."""

    how: str = "other"

    def fit(self, session):
        return None

    def restore(self, tensors):
        from transferkit.model import Scorer

        if self.how == "none":
            return None
        if self.how == "fewer":
            return Scorer(lambda logits: logits[:, 0])
        return Scorer(lambda logits, origin, principal, scale: logits[:, 0], "", tensors)


def test_a_plugin_that_is_missing_or_computes_something_else(tmp_path, monkeypatch):
    folder, _, _ = guarded(tmp_path, "vim")
    found = read_interference(folder)
    model, _ = open_model(folder)
    owner = installed().get("detector", "vim").owner
    assert isinstance(open_detector(folder, found.detector, model), torch.nn.Module)
    assert (found.detector.distribution, found.detector.version) == (owner.distribution, owner.version)

    def with_plugin(cls):
        registry = Registry()
        if cls is not None:
            registry.add("detector", "vim", cls, Owner("vim", owner.distribution, "9"))
        monkeypatch.setattr("transferkit.deploy.plugin_detector.installed", lambda: registry)

    with_plugin(None)
    refused(folder, f"which is not installed here: pip install {owner.distribution}")
    with_plugin(Other)
    refused(folder, f"gives other scores with the {owner.distribution} 9 that is installed")
    for how, match in (("none", "gives None instead of a module"), ("fewer", "Unexpected key")):
        record = replace(found.detector, options={"how": how})
        with pytest.raises(InputError, match=match):
            open_detector(folder, record, model)
    with pytest.raises(InputError, match="does not take the options it was fitted with"):
        open_detector(folder, replace(found.detector, options={"k": 1}), model)


def test_a_module_that_is_not_the_recorded_one_is_not_written(tmp_path):
    folder, _, _ = guarded(tmp_path, "vim")
    found = read_interference(folder)
    with pytest.raises(InputError, match="needs its module"):
        write_interference(folder, found)
    with pytest.raises(InputError, match="a detector of 3 tensors, where its module has 0"):
        write_interference(folder, found, detector=torch.nn.Identity())


def test_options_are_checked_when_the_recipe_is_read():
    component = installed().get("analyzer", "interference")
    for options, match in (
        ({"detectors": ["mps"]}, 'did you mean "msp"'),
        ({"detectors": [{"use": "knn", "k": 0}]}, "knn: k: Input should be greater"),
        ({"deploy": "interference"}, "belongs to another kind"),
    ):
        with pytest.raises(ValueError, match=match):
            component.create(options)
    assert component.create({"deploy": "knn", "detectors": ["msp"]}).deploy.use == "knn"
    with pytest.raises(InputError, match='no detector called "mps"'):
        NamedDetector.of("mps")


def test_two_of_a_name_and_a_given_threshold(tmp_path):
    with pytest.raises(InputError, match="two detectors are called knn"):
        guarded(tmp_path / "a", None, detectors=["knn", {"use": "knn", "k": 3}])
    with pytest.raises(InputError, match="detect_p is a threshold of probabilities"):
        guarded(tmp_path / "b", "energy", detect_p=0.5)


def test_reading_the_options_imports_no_torch():
    code = (
        "import sys; from transferkit.plugins.registry import installed; "
        "installed().get('analyzer', 'interference').create({'deploy': {'use': 'knn', 'k': 3}, 'detectors': ['vim']}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

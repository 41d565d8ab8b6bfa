"""Graphs of fewer bits: nearly the model's answers, at a loss that is measured, written down and bounded."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from transferkit.deploy import lossy, portable
from transferkit.deploy.export import export_model, verify_export
from transferkit.deploy.loaded import load
from transferkit.deploy.lossy import Loss, Pictures
from transferkit.deploy.parity import ParityError
from transferkit.deploy.variants import Variant
from transferkit.errors import InputError
from transferkit.testing.detector import tiny_guarded

pytest.importorskip("onnxscript")
NAMES = ["logits", "score", "source_class"]


def picture(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_guarded(tmp_path_factory.mktemp("lossy") / "model")


@pytest.fixture(scope="module")
def pictures(model):
    """Labelled as the model answers, so that its accuracy is 1."""
    loaded, shown = load(model), [picture(seed) for seed in range(12)]
    labels = [loaded.classes.index(loaded.predict(one).label) for one in shown]
    return Pictures(lambda: iter(shown[:6]), lambda: zip(shown, labels, strict=True))


@pytest.mark.parametrize(("form", "precision"), [("onnx", "fp16"), ("onnx", "int8"), ("pt2", "fp16"), ("pt2", "bf16")])
def test_nearly_the_models_answers_and_the_loss_is_counted(model, pictures, tmp_path, form, precision):
    done = export_model(
        model, form, out=tmp_path, max_batch=4, precision=precision, pictures=pictures, allow_loss=100.0
    )
    loaded = load(model)
    assert [one.file for one in done.variants] == [f"model_{precision}.{form}", f"model_uint8_{precision}.{form}"]
    assert "precision" in json.loads((tmp_path / "export.json").read_text())["exports"][done.variants[0].key]
    for variant in done.variants:
        run = portable.open_file(form, tmp_path / variant.file, NAMES, 4)
        loss = Loss.of(done.record.exports[variant.key].loss)
        same, flags, apart = [], [], 0.0
        for shown, label in pictures.validation():
            images = loaded.preprocess(shown)[None]
            eager = loaded(images)
            found = run(np.asarray(shown)[None] if variant.pixels else images.numpy())
            assert found["logits"].dtype == np.float32 and found["source_class"].dtype == np.int64
            same.append(found["logits"].argmax() == label)
            flags.append((found["score"][0] > loaded.interference.detect_p) == bool(eager.flag))
            apart = max(apart, float(np.abs(found["logits"] - eager.logits.numpy()).max()))
        assert (loss.images, loss.top1_before, loss.top1_after) == (12, 1.0, pytest.approx(np.mean(same)))
        assert loss.flags_agree == pytest.approx(np.mean(flags)) and loss.logits == pytest.approx(apart, abs=1e-5)
        assert 0 < loss.logits < 0.2
        assert run(np.zeros((4, 9, 7, 3), np.uint8) if variant.pixels else np.zeros((4, 3, 32, 32), np.float32))
    verify_export(tmp_path, model_dir=model)


def test_int8_has_integers_and_leaves_the_heads(model, pictures, tmp_path):
    export_model(
        model, "onnx", inputs=["floats"], out=tmp_path, max_batch=2, precision="int8", pictures=pictures,
        allow_loss=100.0,
    )  # fmt: skip
    graph = onnx.load(tmp_path / "model_int8.onnx").graph
    made_by = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions and all(made_by[node.input[0]].op_type == "DequantizeLinear" for node in convolutions)
    linear = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    assert linear and not any(made_by.get(node.input[1]) for node in linear)  # classifier and detector


def test_more_than_is_allowed_is_refused_in_one_sentence(model, pictures, tmp_path):
    wrong = Pictures(pictures.calibration, lambda: ((one, 1 - label) for one, label in pictures.validation()))
    assert export_model(
        model, "pt2", inputs=["floats"], out=tmp_path / "a", max_batch=2, precision="fp16", pictures=wrong
    )  # nothing right before, nothing right after
    loaded, variant = load(model), Variant("onnx", precision="int8")
    graph = portable.Graph(loaded)

    def turned(given):
        found = {name: value.numpy() for name, value in zip(NAMES, graph(lossy.torch.from_numpy(given)), strict=True)}
        return found | {"logits": found["logits"][:, ::-1].copy()}

    with pytest.raises(ParityError, match=r"model_int8\.onnx is not written: 0.* right on 12 .*--allow-loss"):
        lossy.measured(graph, turned, variant, loaded, pictures, 99.0, lambda text: None)
    assert lossy.measured(graph, turned, variant, loaded, pictures, 100.0, lambda text: None).points == 100
    with pytest.raises(ParityError, match="not finite"):
        lossy.measured(
            graph, lambda given: turned(given) | {"score": np.array([np.nan])}, variant, loaded, pictures, 100.0,
            lambda text: None,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "precision", "words"),
    [
        ("onnx", "bf16", "computes no bfloat16"),
        ("pt2", "int8", "int8 is for the format onnx"),
        ("onnx", "int4", "the precision is one of fp32, fp16, bf16, int8"),
        ("onnx", "int8", "give some with --calibration"),
    ],
)
def test_what_cannot_be(model, form, precision, words):
    with pytest.raises(InputError, match=words):
        export_model(model, form, precision=precision)


def test_a_file_that_answers_otherwise_is_refused(model, pictures, tmp_path):
    export_model(
        model, "pt2", inputs=["floats"], out=tmp_path, max_batch=2, precision="bf16", pictures=pictures,
        allow_loss=100.0,
    )  # fmt: skip
    expected = lossy.parity.expected_of(
        json.loads((tmp_path / "export.json").read_text())["exports"]["pt2_bf16"]["reference"], 2
    )
    lossy.check_again(expected, expected.outputs, "the file")
    with pytest.raises(ParityError, match="the file: logits differ by"):
        lossy.check_again(expected, expected.outputs | {"logits": expected.outputs["logits"] + 1}, "the file")


def test_predict_beside_it_takes_it(model, pictures, tmp_path):
    exports = export_model(
        model, "onnx", out=tmp_path, max_batch=2, precision="int8", pictures=pictures, allow_loss=100.0
    ).folder
    shown, label = next(iter(pictures.validation()))
    shown.save(tmp_path / "photo.png")
    command = [sys.executable, str(exports / "predict.py"), "model_uint8_int8.onnx", str(tmp_path / "photo.png")]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert answer["label"] == load(model).classes[label]

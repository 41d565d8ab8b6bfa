"""Exported files: one graph, any batch, the model's own answers, readable without us; refused where they are not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from transferkit.deploy import export as exporting
from transferkit.deploy import portable
from transferkit.deploy.export import export_model, verify_export
from transferkit.deploy.export_folder import read_record
from transferkit.deploy.interference import Score, write_interference
from transferkit.deploy.loaded import load
from transferkit.deploy.parity import ParityError
from transferkit.deploy.portable import Graph, Untraceable, check_range, trace
from transferkit.errors import InputError, TransferkitError
from transferkit.model.folder import save_model
from transferkit.testing.detector import tiny_detector, tiny_detector_head
from transferkit.testing.tiny import tiny_images, tiny_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NAMES = ["logits", "score", "source_class"]
FORMATS = ["onnx", "pt2"]
FLOATS = ["floats"]


def guarded(folder, name, score="refitted", **options):
    model = tiny_model(["ants", "bees", "owls"], name=name, **options)
    save_model(folder, model, None, {})
    source = None
    if score == "separate":
        source = save_model(folder.parent / "source", tiny_model(list("vwxyz"), name="test_vit", img_size=32), None, {})
    head = None if score == "separate" else tiny_detector_head(model.num_features)
    write_interference(folder, tiny_detector(model, Score(score, "max")), head, source)
    return folder


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_gives_the_models_answers(exported, form, size):
    images = tiny_images(size, seed=3)
    eager = load(exported)(images)
    run = portable.open_file(form, exported / "exports" / f"model.{form}", NAMES, 64)
    found = run(images.numpy())
    assert list(found) == NAMES
    np.testing.assert_allclose(found["logits"], eager.logits, atol=1e-4)
    np.testing.assert_allclose(found["score"], eager.score, atol=1e-4)
    assert found["source_class"].dtype == np.int64
    assert found["source_class"].tolist() == eager.source_class.tolist()
    assert set(found["source_class"].tolist()) <= {1, 3}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {"img_size": 32}),
        ("test_convnext", {}),
        ("mobilenetv3_small_050", {}),
    ],
)
def test_other_families(tmp_path, name, options):
    folder = guarded(tmp_path / "model", name, **options)
    parity = export_model(folder, "onnx", max_batch=8, inputs=FLOATS).entry.parity
    assert parity.logits <= 1e-4 and parity.score <= 1e-4
    assert [one["batch"] for one in parity.batches] == [1, 2, 3, 8]


@pytest.mark.parametrize("form", FORMATS)
def test_a_separate_source_model_is_in_the_same_graph(tmp_path, form):
    folder = guarded(tmp_path / "model", "test_resnet", "separate")
    done = export_model(folder, form, max_batch=4, inputs=FLOATS)
    assert done.record.source_classes == ["shark", "espresso", "wheel", "daisy", "fence"]
    assert set(done.record.files) >= {"source_model/model.safetensors", "source_model/config.json"}
    assert verify_export(folder / "exports", model_dir=folder).guarded


def test_without_a_detector_there_are_logits_alone(tmp_path):
    folder = save_model(tmp_path / "model", tiny_model(), None, {})
    done = export_model(folder, "onnx", max_batch=2, inputs=FLOATS)
    assert [one.name for one in done.record.outputs] == ["logits"]
    assert (done.record.guarded, done.record.detect_p, done.entry.parity.score) == (False, None, None)
    assert list(portable.open_onnx(done.path)(tiny_images(2).numpy())) == ["logits"]
    tiny = tiny_model()
    write_interference(folder, tiny_detector(tiny, Score("refitted", "sum")), tiny_detector_head(tiny.num_features))
    with pytest.raises(InputError, match="has got a detector since"):
        verify_export(folder / "exports", model_dir=folder)


def test_the_record_says_what_a_server_needs(exported):
    record = json.loads((exported / "exports" / "export.json").read_text())
    model = load(exported)
    assert record["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 3, 32, 32]}]
    assert [(one["name"], one["dtype"], one["shape"]) for one in record["outputs"]] == [
        ("logits", "float32", ["batch", 2]),
        ("score", "float32", ["batch"]),
        ("source_class", "int64", ["batch"]),
    ]
    assert (record["classes"], record["source_classes"]) == (model.classes, model.source_classes)
    assert record["detect_p"] == model.interference.detect_p
    assert record["preprocessing"] == model.model.preprocessing.to_json()
    assert record["lingering"] == [{"index": 1, "name": "espresso"}, {"index": 3, "name": "daisy"}]
    assert {"model.safetensors", "config.json", "interference.json", "interference_head.safetensors"} == set(
        record["files"]
    )
    onnx, pt2 = record["exports"]["onnx"], record["exports"]["pt2"]
    assert onnx["opset"] >= 18 and pt2["opset"] is None
    assert onnx["batch"] == {"min": 1, "max": 64, "enforced": False}
    assert pt2["batch"] == {"min": 1, "max": 64, "enforced": True}
    assert {"torch", "timm", "onnx", "onnxruntime"} <= set(onnx["versions"])
    for entry in (onnx, pt2):
        assert [one["batch"] for one in entry["parity"]["batches"]] == [1, 2, 3, 8, 64]
        assert entry["parity"]["rows"] == 78
        assert max(one["logits"] for one in entry["parity"]["batches"]) == entry["parity"]["logits"] <= 1e-4


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_itself_says_what_it_is(exported, form):
    import onnx

    path = exported / "exports" / f"model.{form}"
    extra = {"transferkit.json": ""}
    if form == "onnx":
        facts = json.loads({one.key: one.value for one in onnx.load(path).metadata_props}["transferkit"])
    else:
        torch.export.load(str(path), extra_files=extra)
        facts = json.loads(extra["transferkit.json"])
    assert facts["classes"] == ["ants", "bees"] and facts["detect_p"] == 0.19
    assert facts["preprocessing"]["input_size"] == [32, 32]


def test_one_file_with_stable_names_and_nothing_of_this_machine(exported):
    import onnx

    assert {path.name for path in (exported / "exports").iterdir()} == {
        "model.onnx", "model_uint8.onnx", "model.pt2", "model_uint8.pt2", "config.pbtxt", "export.json", "predict.py",
    }  # fmt: skip
    model = onnx.load(exported / "exports" / "model.onnx")
    onnx.checker.check_model(model)
    assert [one.name for one in model.graph.output] == NAMES
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    home = portable.__file__.split("transferkit")[0].encode()
    for path in (exported / "exports").iterdir():
        assert home not in path.read_bytes() and b"site-packages" not in path.read_bytes()


def test_the_same_model_gives_the_same_onnx_bytes(exported, tmp_path):
    again = export_model(exported, "onnx", out=tmp_path / "again", inputs=FLOATS).entry
    assert again.sha256 == read_record(exported / "exports").exports["onnx"].sha256


WITHOUT_US = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("transferkit", "timm"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import numpy as np
images = np.load("images.npy")
if sys.argv[1] == "onnx":
    import onnxruntime
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["logits", "score", "source_class"], {"images": images})
else:
    import torch
    module = torch.export.load("model.pt2").module()
    found = [value.numpy() for value in module(torch.from_numpy(images))]
assert not {"transferkit", "timm"} & set(sys.modules)
np.savez("found.npz", *found)
"""


@pytest.mark.parametrize("form", FORMATS)
def test_loads_where_neither_transferkit_nor_timm_is(exported, tmp_path, form):
    name = f"model.{form}"
    (tmp_path / name).write_bytes((exported / "exports" / name).read_bytes())
    images = tiny_images(3, seed=5)
    np.save(tmp_path / "images.npy", images.numpy())
    command = [sys.executable, "-I", "-c", WITHOUT_US, form]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = list(np.load(tmp_path / "found.npz").values())
    eager = load(exported)(images)
    for value, expected in zip(found, (eager.logits, eager.score, eager.source_class), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-4)


def test_pt2_refuses_more_images_than_it_was_made_for(tmp_path, exported):
    done = export_model(exported, "pt2", out=tmp_path / "small", max_batch=2, inputs=FLOATS)
    run = portable.open_pt2(done.path, NAMES, 2)
    assert len(run(tiny_images(2).numpy())["score"]) == 2
    with pytest.raises((AssertionError, RuntimeError)):
        run(tiny_images(3).numpy())
    assert [one["batch"] for one in done.entry.parity.batches] == [1, 2]


def test_a_graph_with_a_fixed_batch_is_refused(exported, tmp_path, monkeypatch):
    graph = Graph(load(exported)).eval()
    frozen = torch.export.export(graph, (torch.zeros(2, 3, 32, 32),), strict=False)
    with pytest.raises(Untraceable, match="batches of 2 to 2 images instead of 1 to 64"):
        check_range(frozen, 64)
    with pytest.raises(Untraceable, match="batches of 1 to 8 images instead of 1 to 64"):
        check_range(trace(graph, (3, 32, 32), 8), 64)
    monkeypatch.setattr(Graph, "forward", lambda self, images: (self.whole(images.reshape(2, 3, 32, 32)).logits,))
    with pytest.raises(TransferkitError, match="test_resnet cannot be exported to pt2"):
        export_model(exported, "pt2", out=tmp_path / "new", inputs=FLOATS)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_on_some_batch_is_refused(exported, tmp_path, monkeypatch):
    plain = portable.open_file

    def opened(*args):
        run = plain(*args)

        def fails(images):
            assert len(images) < 3, "Guard failed"
            return run(images)

        return fails

    monkeypatch.setattr(portable, "open_file", opened)
    with pytest.raises(TransferkitError, match="cannot be exported to pt2: Guard failed"):
        export_model(exported, "pt2", out=tmp_path / "new", inputs=FLOATS)
    assert list(tmp_path.iterdir()) == []


class _Wrong:
    """A runner whose answers are spoiled."""

    def __init__(self, run, spoil):
        self.run, self.spoil = run, spoil

    def __call__(self, images):
        found = {name: value.copy() for name, value in self.run(images).items()}
        self.spoil(found)
        return found


def _add(name, amount):
    def spoil(found):
        found[name] = (found[name] + amount).astype(found[name].dtype)

    return spoil


SPOILED = [
    (_add("logits", 2e-4), "logits differ by 0.0002"),
    (_add("logits", float("nan")), "logits differ by nan"),
    (_add("score", 2e-4), "score differ"),
    (_add("source_class", 1), "another source class on 1 of 1 rows"),
    (lambda found: found.pop("score"), '"score" is nothing'),
    (lambda found: found.update(score=found["score"][:, None]), r'"score" is float32 \[1, 1\]'),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_a_file_that_answers_differently_is_not_written(exported, tmp_path, monkeypatch, spoil, message):
    plain = portable.open_file
    monkeypatch.setattr(portable, "open_file", lambda *args: _Wrong(plain(*args), spoil))
    with pytest.raises(ParityError, match=message):
        export_model(exported, "pt2", out=tmp_path / "new" / "exports", inputs=FLOATS)
    assert list(tmp_path.iterdir()) == []


def test_what_fails_half_way_leaves_the_old_export(copied, monkeypatch):
    before = {path.name: path.read_bytes() for path in (copied / "exports").iterdir()}

    def fail(*args, **options):
        import warnings

        warnings.warn("beware", stacklevel=1)
        print("halfway there")
        raise RuntimeError("cannot be lowered\nmore")

    monkeypatch.setattr(portable, "write_pt2", fail)
    with pytest.raises(TransferkitError, match="test_resnet cannot be exported to pt2: cannot be lowered") as caught:
        export_model(copied, "pt2", inputs=FLOATS)
    assert "beware" in caught.value.__notes__[0] and "halfway there" in caught.value.__notes__[0]
    assert {path.name: path.read_bytes() for path in (copied / "exports").iterdir()} == before
    assert not [path for path in copied.iterdir() if path.name.startswith(".")]


def test_an_interrupted_export_leaves_nothing(exported, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting.parity, "compare_all", stop)
    with pytest.raises(KeyboardInterrupt):
        export_model(exported, "pt2", out=tmp_path / "new", inputs=FLOATS)
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests(exported, tmp_path, monkeypatch):
    with pytest.raises(InputError, match='one of onnx, pt2, not "tflite"'):
        export_model(exported, "tflite", inputs=FLOATS)
    with pytest.raises(InputError, match="largest batch is at least 2"):
        export_model(exported, "onnx", max_batch=1, inputs=FLOATS)
    with pytest.raises(InputError, match="for the format onnx alone"):
        export_model(exported, "pt2", opset=20, inputs=FLOATS)
    with pytest.raises(InputError, match="opset 7 cannot be written; choose one from 18 to"):
        export_model(exported, "onnx", out=tmp_path / "new", opset=7, inputs=FLOATS)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; --out is a folder"):
        export_model(exported, "onnx", out=tmp_path / "file", inputs=FLOATS)
    monkeypatch.setattr(portable, "LARGEST_ONNX", 1000)
    with pytest.raises(InputError, match="at most 2 GB; use --format pt2"):
        export_model(exported, "onnx", out=tmp_path / "new", inputs=FLOATS)
    monkeypatch.setattr(portable, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'onnxruntime missing\): pip install "transferkit\[export\]"'):
        export_model(exported, "onnx", inputs=FLOATS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_chosen_opset_is_used(exported, tmp_path):
    import onnx

    done = export_model(exported, "onnx", out=tmp_path / "new", opset=18, max_batch=2, inputs=FLOATS)
    assert done.entry.opset == 18
    assert {one.domain: one.version for one in onnx.load(done.path).opset_import}[""] == 18


def test_other_files_of_the_folder_stay(exported, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    export_model(exported, "pt2", out=tmp_path, max_batch=2, inputs=FLOATS)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "model.pt2", "export.json", "predict.py"}


def test_nothing_is_drawn_from_the_random_generators(exported, tmp_path):
    before = torch.get_rng_state()
    export_model(exported, "pt2", out=tmp_path / "new", max_batch=2, inputs=FLOATS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.real_data
def test_a_trained_network_on_photographs(real_data, tmp_path):
    from PIL import Image

    from transferkit.model import build
    from transferkit.recipe.schema import Model

    weights = real_data / "weights" / "mobilenetv2_100_imagenet1k.safetensors"
    spec = Model(name="mobilenetv2_100", options={"pad_type": "same"}, preprocessing={"input_size": 128})
    folder = save_model(tmp_path / "model", *build(spec, weights=weights, source_classes=None, classes=None), {})
    done = export_model(folder, "onnx", max_batch=8, inputs=FLOATS)
    model = load(folder)
    paths = sorted((real_data / "hymenoptera" / "val").rglob("*.jpg"))[::20]
    images = torch.stack([model.preprocess(Image.open(path)) for path in paths])
    expected = model(images).logits
    found = portable.open_onnx(done.path)(images.numpy())["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()

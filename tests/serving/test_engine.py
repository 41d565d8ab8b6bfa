"""Which engine computes, and that none is taken that computes something else."""

from __future__ import annotations

import shutil

import pytest
import torch

from transferkit.deploy.loaded import load
from transferkit.errors import InputError
from transferkit.serving.engine import ONNX, choose, each, joined
from transferkit.serving.service import open_model
from transferkit.serving.settings import Settings
from transferkit.testing.detector import tiny_guarded

from .conftest import encoded, picture, running


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """The served folder with its graph beside it."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from transferkit.deploy.export import export_model

    copy = shutil.copytree(folder, tmp_path_factory.mktemp("exported") / "model")
    export_model(copy, "onnx", inputs=["floats"])
    assert (copy / ONNX).is_file()
    return copy


def engine_of(folder, **settings):
    said = []
    engine = choose(folder, *open_model(folder), Settings(**{"device": "cpu", **settings}), said.append)
    return engine, said


def test_a_graph_serves_what_the_model_says(exported, loaded):
    images = [picture(seed) for seed in range(8)]
    with running(exported, engine="auto") as held:
        assert held.client.get("/health/ready").json()["engine"] == "onnx"
        found = held.send(*map(encoded, images)).json()["predictions"]
    said = loaded(torch.stack([loaded.preprocess(image) for image in images]))
    assert [one["score"] for one in found] == pytest.approx(said.score.tolist(), abs=1e-5)
    assert [one["flag"] for one in found] == said.flag.tolist()
    assert [one["class"] for one in found] == [loaded.classes[index] for index in said.logits.argmax(1).tolist()]
    assert [one["source_class"] for one in found] == [loaded.source_classes[i] for i in said.source_class.tolist()]


def test_what_is_asked_for_is_taken(exported, folder):
    assert engine_of(exported)[0].name == engine_of(exported, engine="onnx")[0].name == "onnx"
    assert engine_of(exported, engine="torch")[0].name == "torch"
    assert engine_of(folder)[0].name == "torch"
    with pytest.raises(InputError, match="transferkit export"):
        engine_of(folder, engine="onnx")
    with pytest.raises(InputError, match="--device"):
        engine_of(folder, device="cuda:99" if torch.cuda.is_available() else "cuda")


@pytest.mark.parametrize("damage", ["another model", "no graph", "no detector"])
def test_a_graph_of_another_model_is_never_served(exported, tmp_path, damage):
    other = tiny_guarded(
        tmp_path / "other", ["ants", "bees", "cats", "dogs"], seed=1 if damage == "another model" else 0
    )
    (other / "exports").mkdir()
    if damage == "no graph":
        (other / ONNX).write_bytes(b"not a graph")
    else:
        shutil.copy(exported / ONNX, other / ONNX)
    if damage == "no detector":
        for name in ("interference.json", "interference_head.safetensors"):
            (other / name).unlink()
        assert engine_of(other)[0].name == "onnx"  # the logits are the same
        return
    with pytest.raises(InputError, match=r"export it anew"):
        engine_of(other, engine="onnx")
    engine, (said,) = engine_of(other)
    assert engine.name == "torch" and "export it anew" in said and "in torch" in said


def test_outputs_are_cut_and_joined(folder):
    loaded = load(folder)
    engine, _ = engine_of(folder)
    images = torch.stack([loaded.preprocess(picture(seed)) for seed in range(3)])
    whole = engine(images)
    again = joined(each(engine, list(images)))
    for one, other in zip(whole, again, strict=True):
        assert (one == other).all()

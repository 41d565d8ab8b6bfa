"""Which graphs are written: both where they can be, one where it is asked for or no other can be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from transferkit.deploy.export import export_model
from transferkit.deploy.variants import FORMATS, INPUTS, Variant
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.testing.tiny import tiny_model


def test_names_never_change():
    assert [Variant(form, given).file for form in FORMATS for given in INPUTS] == [
        "model.onnx", "model_uint8.onnx", "model.pt2", "model_uint8.pt2",
    ]  # fmt: skip
    for form in FORMATS:
        for given in INPUTS:
            for calibrated in (False, True):
                variant = Variant(form, given, calibrated)
                assert Variant.of(variant.key) == variant
    with pytest.raises(InputError, match='unknown kind, "onnx_int4"; export the model again'):
        Variant.of("onnx_int4")


def test_what_no_graph_can_preprocess_is_exported_for_floats_alone(tmp_path):
    model = tiny_model()
    model.preprocessing = replace(model.preprocessing, interpolation="nearest")
    folder = save_model(tmp_path / "model", model, None, {})
    with pytest.raises(InputError, match=r'"nearest" cannot be in a graph .* export with --input floats'):
        export_model(folder, "pt2", inputs=["uint8"], max_batch=2)
    assert not (folder / "exports").exists()
    done = export_model(folder, "pt2", max_batch=2)
    assert [one.file for one in done.variants] == ["model.pt2"] and 'interpolation "nearest"' in done.notes[0]
    record = json.loads((folder / "exports" / "export.json").read_text())
    assert record["schema_version"] == 1  # which older versions read


def test_an_unknown_input_is_refused(tmp_path):
    with pytest.raises(InputError, match='the input is one of floats, uint8, not "webp"'):
        export_model(tmp_path, "pt2", inputs=["webp"])

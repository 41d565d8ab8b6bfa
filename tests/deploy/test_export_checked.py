"""Exported files that were changed, or whose model was, are found out."""

from __future__ import annotations

import json

import pytest

from transferkit.deploy.export import export_model, verify_export
from transferkit.deploy.parity import ParityError
from transferkit.errors import InputError, TransferkitError
from transferkit.testing.detector import tiny_guarded

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_checked_again(exported, copied):
    assert set(verify_export(exported / "exports", model_dir=exported).exports) == {
        "onnx",
        "onnx_uint8",
        "pt2",
        "pt2_uint8",
    }
    (copied / "exports" / "model.onnx").write_bytes(b"something else")
    assert verify_export(copied / "exports", "pt2") is not None
    with pytest.raises(InputError, match="not the file that was exported"):
        verify_export(copied / "exports")
    (copied / "exports" / "model.onnx").unlink()
    with pytest.raises(InputError, match="missing, though export"):
        verify_export(copied / "exports", "onnx")
    with pytest.raises(InputError, match="there is no exported file here"):
        verify_export(copied)


def edit(folder, change):
    path = folder / "exports" / "export.json"
    content = json.loads(path.read_text())
    change(content)
    content.pop("sha256", None)  # as records had none before
    path.write_text(json.dumps(content))


CHANGES = [
    (lambda c: c.update(schema_version=3), InputError, "schema version 3, .* upgrade transferkit"),
    (lambda c: c.pop("classes"), InputError, '"classes" is missing'),
    (lambda c: c["exports"]["onnx"]["parity"].update(rows="many"), InputError, "exports.onnx.parity.rows"),
    (lambda c: c["exports"]["onnx"]["reference"].pop("outputs"), InputError, "cannot be used: KeyError"),
    (lambda c: c["exports"]["onnx"]["reference"]["outputs"].update(score=[0.5] * 3), ParityError, "score differ by"),
    (lambda c: c["exports"]["onnx"]["reference"].update(images_sha256=""), TransferkitError, "cannot be drawn again"),
]


@pytest.mark.parametrize(("change", "error", "message"), CHANGES)
def test_a_changed_record_is_refused(copied, change, error, message):
    edit(copied, change)
    with pytest.raises(error, match=message):
        verify_export(copied / "exports", "onnx")


def test_a_model_that_changed_since_is_found_out_and_its_old_files_go(copied):
    tiny_guarded(copied.parent / "other", seed=1)
    for name in ("config.json", "model.safetensors", "interference.json", "interference_head.safetensors"):
        (copied / name).write_bytes((copied.parent / "other" / name).read_bytes())
    with pytest.raises(InputError, match="changed since the model was exported"):
        verify_export(copied / "exports", model_dir=copied)
    done = export_model(copied, "onnx", inputs=["floats"], max_batch=2)
    assert set(done.record.exports) == {"onnx"}
    assert not (copied / "exports" / "model.pt2").exists()
    assert any("model.pt2 was of another state of the model" in note for note in done.notes)


def test_a_damaged_record_does_not_stop_a_new_export(copied):
    (copied / "exports" / "export.json").write_text("{")
    with pytest.raises(InputError, match=r"export\.json cannot be read"):
        verify_export(copied / "exports")
    assert set(export_model(copied, "pt2", inputs=["floats"], max_batch=2).record.exports) == {"pt2"}

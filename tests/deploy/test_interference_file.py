"""Written and read back; every kind of tampering is refused with one sentence."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import transferkit
from tests.mutations import mutated
from transferkit.deploy.interference import Score, read_interference, write_interference
from transferkit.errors import InputError
from transferkit.model.folder import save_model
from transferkit.system.atomic import sha256
from transferkit.testing import tiny_model
from transferkit.testing.detector import SOURCE_CLASSES, tiny_detector, tiny_detector_head, tiny_guarded

HEAD = "interference_head.safetensors"


def refused(folder, match):
    """Refused by reading and by loading, in one sentence that names the file."""
    for open_it in (read_interference, transferkit.load):
        with pytest.raises(InputError, match=match) as error:
            open_it(folder)
        text = str(error.value)
        assert "\n" not in text and str(folder) in text
    return text


def edit(folder, change):
    path = folder / "interference.json"
    content = json.loads(path.read_text())
    change(content)
    content.pop("sha256", None)  # as files had none before
    path.write_text(json.dumps(content))


def trust(folder, name=HEAD):
    """Give the file's new hash to interference.json, as a careful forger would."""
    edit(folder, lambda content: content["files"].update({name: sha256(folder / name)}))


def test_written_files(folder):
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", HEAD, "interference.json"}
    found = read_interference(folder)
    assert set(found.files) == {"config.json", "model.safetensors", HEAD}
    assert found.created_by == transferkit.__version__ and found.schema_version == 1
    assert (folder / HEAD).stat().st_mode & 0o777 == 0o644


def test_a_folder_without_a_detector(tmp_path):
    save_model(tmp_path / "plain", tiny_model(), None, {})
    assert read_interference(tmp_path / "plain") is None
    assert read_interference(tmp_path / "nowhere") is None


def test_half_a_detector(folder):
    (folder / "interference.json").unlink()
    refused(folder, f"has {HEAD} of a detector and no interference.json; copy that too")
    (folder / HEAD).unlink()
    assert not transferkit.load(folder).guarded


def test_the_same_detector_twice_gives_the_same_bytes(tmp_path):
    one, two = (tiny_guarded(tmp_path / name) for name in ("one", "two"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_writing_again_replaces(folder):
    model = tiny_model(["ants", "bees"])
    write_interference(
        folder, tiny_detector(model, Score("refitted", "max")), tiny_detector_head(model.num_features, 1)
    )
    assert read_interference(folder).score.reduction == "max"
    assert transferkit.load(folder).guarded


def test_swapped_uses_the_source_head_of_the_folder(tmp_path):
    model = tiny_model(["ants", "bees"])
    head, other = tiny_detector_head(model.num_features), tiny_detector_head(model.num_features, seed=1)
    detector = tiny_detector(model, Score("swapped", "sum"))
    save_model(tmp_path / "a", model, head, {})
    before = (tmp_path / "a" / "source_head.safetensors").read_bytes()
    write_interference(tmp_path / "a", detector, head)
    assert (tmp_path / "a" / "source_head.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="another head"):
        write_interference(tmp_path / "a", detector, other)
    save_model(tmp_path / "b", model, None, {})
    with pytest.raises(InputError, match="needs a head"):
        write_interference(tmp_path / "b", detector, None)
    write_interference(tmp_path / "b", detector, head)
    assert torch.equal(transferkit.load(tmp_path / "b").module.head.weight, head.weight)


def test_separate_copies_the_source_model(tmp_path):
    model, source = tiny_model(["ants", "bees"]), tiny_model(SOURCE_CLASSES, seed=5)
    detector = tiny_detector(model, Score("separate", "sum"))
    save_model(tmp_path / "model", model, None, {})
    save_model(tmp_path / "source", source, None, {})
    for wrong in (None, tmp_path):
        with pytest.raises(InputError, match="needs the folder of that model"):
            write_interference(tmp_path / "model", detector, source_model=wrong)
    write_interference(tmp_path / "model", detector, source_model=tmp_path / "source")
    shutil.rmtree(tmp_path / "source")
    write_interference(tmp_path / "model", detector, source_model=tmp_path / "model" / "source_model")  # where it is
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json", "model.safetensors", "interference.json", "source_model",
    }  # fmt: skip
    assert transferkit.load(tmp_path / "model").guarded
    path = tmp_path / "model" / "source_model" / "config.json"
    path.write_text(path.read_text() + " ")
    refused(tmp_path / "model", "source_model/config.json: not the file that the detector was made for")


@pytest.mark.parametrize("change", ["weights", "config", "head"])
def test_a_changed_file(folder, change):
    name = {"weights": "model.safetensors", "config": "config.json", "head": HEAD}[change]
    path = folder / name
    if change == "config":
        path.write_text(path.read_text().replace('"bees"', '"wasps"'))
    else:
        tensors = load_file(path)
        tensors[sorted(tensors)[0]].flatten()[0] += 1
        save_file(tensors, path, metadata={"format": "pt"})
    text = refused(folder, "not the file that the detector was made for")
    assert name in text and "restore it" in text


@pytest.mark.parametrize("name", ["model.safetensors", HEAD])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    refused(folder, f"{name}: (missing|there is no such weights file)")


def test_a_pickle_in_place_of_the_head(folder):
    (folder / HEAD).write_bytes(pickle.dumps({"weight": [1.0]}))
    refused(folder, "a Python pickle. It is never opened")
    trust(folder)
    refused(folder, "a Python pickle. It is never opened")
    torch.save({"weight": torch.ones(5, 4)}, folder / HEAD)
    refused(folder, "zip archive, as torch.save writes them")


def save_head(folder, **tensors):
    save_file(tensors, folder / HEAD)
    trust(folder)


def test_heads_that_do_not_fit(folder):
    width = load_file(folder / HEAD)["weight"].shape[1]
    save_head(folder, weight=torch.ones(5, width + 1), bias=torch.ones(5))
    refused(folder, f"a head for {width + 1} features does not fit a model with {width}")
    save_head(folder, weight=torch.ones(4, width))
    refused(folder, "a head for 4 classes, where interference.json names 5")
    save_head(folder, weight=torch.ones(5, width), bias=torch.ones(4))
    refused(folder, r"its bias has the shape \[4\] instead of \[5\]")
    save_head(folder, weight=torch.ones(5 * width))
    refused(folder, "a head has a tensor `weight` of shape")
    save_head(folder, weight=torch.ones(5, width, dtype=torch.int64))
    refused(folder, "floating-point")
    save_head(folder, weight=torch.ones(5, width), more=torch.ones(1))
    refused(folder, "at most a `bias`")
    save_head(folder, weight=torch.full((5, width), torch.nan))
    with pytest.raises(InputError, match="NaN or infinite values"):
        transferkit.load(folder)


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, "\udcff"])
def test_not_json(folder, text):
    (folder / "interference.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(folder, "interference.json cannot be read: .*; make it anew with the interference analyzer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema_version=3, created_by="9.1"), "schema version 3, written by transferkit 9.1; .*up"),
        (lambda c: c.update(schema_version="1"), '"schema_version": .* valid integer'),
        (lambda c: c.pop("schema_version"), '"schema_version": .* valid integer'),
        (lambda c: c.update(detect_p="0.1"), '"detect_p": .* valid number'),
        (lambda c: c.update(detect_p=True), '"detect_p": .* valid number'),
        (lambda c: c.update(detect_p=None), '"detect_p": .* valid number'),
        (lambda c: c.update(detect_p=float("nan")), '"detect_p": .* finite number'),
        (lambda c: c.update(detect_p=float("inf")), '"detect_p": .* finite number'),
        (lambda c: c.update(detect_p=1.5), '"detect_p" and "calibration.scores" must lie between 0 and 1'),
        (lambda c: c["score"].update(model="detector"), '"score.model" and "detector" contradict each other'),
        (lambda c: c["score"].update(model="other"), "\"score.model\": .*'separate' or 'detector'"),
        (lambda c: c["score"].update(model=["swapped"]), '"score.model": '),
        (lambda c: c["score"].pop("reduction"), '"score.reduction" is missing'),
        (lambda c: c.update(score=3), '"score" must be an object'),
        (lambda c: c["lingering"][0].update(index=5), "the class 5, and there are 5 source classes"),
        (lambda c: c["lingering"][0].update(index=-1), '"lingering.0.index": .* greater than or equal to 0'),
        (lambda c: c["lingering"][0].update(index=1.0), '"lingering.0.index": .* valid integer'),
        (lambda c: c["lingering"][0].update(index=3), "has a class twice"),
        (lambda c: c["lingering"][0].update(prevalence="many"), '"lingering.0.prevalence": .* valid integer'),
        (lambda c: c.update(lingering=[]), '"lingering" names no class'),
        (lambda c: c.update(lingering=[3]), '"lingering.0" must be an object'),
        (lambda c: c.update(source_classes=[]), '"source_classes": .* at least 1 item'),
        (lambda c: c.update(source_classes=list("abcdef")), "a head for 5 classes, where interference.json names 6"),
        (lambda c: c["guarantee"].update(alpha=1.5), '"guarantee.alpha": .* less than 1'),
        (lambda c: c["guarantee"].update(calibration_size=-1), '"guarantee.calibration_size": .* or equal to 0'),
        (lambda c: c["guarantee"].pop("text"), '"guarantee.text" is missing'),
        (lambda c: c["calibration"].update(scores=[0.2, 0.1]), '"calibration.scores" must be sorted'),
        (lambda c: c["calibration"].update(scores=[0.2, None]), '"calibration.scores.1": .* valid number'),
        (lambda c: c["calibration"].update(named={"9": 1}), '"calibration.named" has a class that is none of the 5'),
        (lambda c: c.pop("calibration"), '"calibration" is missing'),
        (lambda c: c.pop("preprocessing"), '"preprocessing" is missing'),
        (lambda c: c.update(files={"model.safetensors": "abc"}), '"files.model.safetensors": .* match pattern'),
        (lambda c: c["source_classes"].append(3), '"source_classes.5": .* valid string'),
        (lambda c: c["calibration"].update(named={"x": 1}), '"calibration.named.x.*": .* valid integer'),
        (lambda c: c["calibration"].update(named={"1": True}), '"calibration.named.1": .* valid integer'),
        (lambda c: c["lingering"][0].update(mean_probability=10**400), '"lingering.0.mean_probability": '),
        (lambda c: c.update(files={}), "has no SHA-256 of model.safetensors"),
        (lambda c: c["files"].pop(HEAD), f"has no SHA-256 of {HEAD}"),
    ],
)  # fmt: skip
def test_damaged_content(folder, change, message):
    edit(folder, change)
    refused(folder, message)


def test_content_that_is_no_object(folder):
    (folder / "interference.json").write_text("[1, 2]")
    refused(folder, "it holds a list, not an object; make it anew")


def test_only_known_files_are_read(folder):
    edit(folder, lambda content: content["files"].update({"../../etc/passwd": "0" * 64}))
    assert read_interference(folder) is not None  # what the file names besides is not looked at


def test_nothing_is_written_for_a_head_that_does_not_fit(tmp_path):
    model = tiny_model(["ants", "bees"])
    folder = save_model(tmp_path / "model", model, None, {})
    with pytest.raises(InputError, match="does not fit a model with"):
        write_interference(
            folder, tiny_detector(model, Score("refitted", "sum")), tiny_detector_head(model.num_features + 1)
        )
    assert not (folder / "interference.json").exists()
    with pytest.raises(InputError, match="not a model folder"):
        write_interference(tmp_path, tiny_detector(model, Score("refitted", "sum")), tiny_detector_head(3))


def test_reading_needs_no_torch(folder):
    import subprocess
    import sys

    code = (
        "import sys; from transferkit.deploy.interference import read_interference; "
        f"assert read_interference({str(folder)!r}).indices; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("sealed", [True, False])
def test_mutations_are_refused_or_change_nothing(folder, sealed):
    content = json.loads((folder / "interference.json").read_text())
    if not sealed:
        del content["sha256"]
    for seed in range(400):
        changed, what = mutated(content, seed)
        (folder / "interference.json").write_text(json.dumps(changed))
        try:
            found = read_interference(folder)
        except InputError:
            continue
        except Exception as error:
            raise AssertionError(what) from error
        assert (
            not sealed
            or "sha256" not in changed
            or json.dumps(changed, sort_keys=True) == json.dumps(content, sort_keys=True)
        ), what
        assert found.to_json() and all(index < len(found.source_classes) for index in found.indices)


def test_a_pipe_is_not_waited_for(folder):
    import os

    (folder / "interference.json").unlink()
    os.mkfifo(folder / "interference.json")
    refused(folder, "a pipe, socket or device, not a file")

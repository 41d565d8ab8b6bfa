from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
from safetensors.torch import save_file

import transferkit
from transferkit.errors import InputError
from transferkit.runs.folder import RunFolder, remove_empty
from transferkit.runs.runner import wanted_stages


def stages(**starts: str) -> SimpleNamespace:
    return SimpleNamespace(stages=[SimpleNamespace(name=name, start=start) for name, start in starts.items()])


CHAIN = stages(a="pretrained", b="a", c="scratch", d="b")


@pytest.mark.parametrize(
    ("names", "expected"),
    [((), ["a", "b", "c", "d"]), (("d",), ["a", "b", "d"]), (("c",), ["c"]), (("c", "a"), ["a", "c"])],
)
def test_a_stage_brings_those_it_starts_from(names, expected) -> None:
    assert wanted_stages(CHAIN, names) == expected


def test_an_unknown_stage_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match='no stage called "target"; did you mean "targets"'):
        wanted_stages(stages(targets="scratch"), ["target"])


def test_a_run_in_which_nothing_was_done_is_taken_back(tmp_path) -> None:
    out = tmp_path / "runs"
    folder = RunFolder.create(out, "name")
    (folder.path / "run.log").write_text("x")
    remove_empty(folder, out)
    assert not out.exists()


def test_a_run_with_a_checkpoint_stays(tmp_path) -> None:
    out = tmp_path / "runs"
    folder = RunFolder.create(out, "name")
    (folder.stage("s") / "checkpoints" / "step-000001").mkdir(parents=True)
    remove_empty(folder, out)
    assert folder.path.is_dir()
    assert RunFolder.create(out, "name").path != folder.path


def test_opening_what_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        RunFolder.open(tmp_path)


def test_weights_of_a_later_stage_that_do_not_fit_are_refused_before_the_first_one_trains(tmp_path) -> None:
    state = {f"layer.{name}": values for name, values in timm.create_model("test_resnet").state_dict().items()}
    save_file(state, tmp_path / "unknown.safetensors")  # of a model that only torch can compare
    stage = {"dataset": "drawn", "epochs": 1, "validation": 0}
    other = {"name": "test_vit", "weights": str(tmp_path / "unknown.safetensors")}
    recipe = {
        "name": "two",
        "device": "cpu",
        "model": {"name": "test_resnet"},
        "datasets": {"drawn": {"world": {"kind": "target", "train": 2, "val": 2, "size": 16}}},
        "stages": [{"name": "first", "start": "scratch", **stage}, {"name": "second", "model": other, **stage}],
    }
    with pytest.raises(InputError, match="these weights do not fit test_vit; nothing was loaded"):
        transferkit.run(recipe, out=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()

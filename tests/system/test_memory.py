"""A lack of memory ends in a sentence with what would fit, whoever runs short, and nothing is lost."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pytest
import torch

from tests.training.conftest import offer, recipe_file, registry, run, tiny_npz  # noqa: F401
from transferkit.cli import main
from transferkit.errors import OutOfMemory, TransferkitError
from transferkit.report import Report
from transferkit.system.memory import enough_memory, is_out_of_memory, smaller_batch

HUGE = 1 << 50


def too_much_torch():
    torch.empty(HUGE)


def too_much_numpy():
    np.empty(HUGE)


def too_much_python():
    bytearray(HUGE)


def too_much_cuda():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def too_much_for_a_thread():
    raise RuntimeError("can't start new thread")


def too_much_for_a_kernel():
    raise RuntimeError("could not create a primitive")


def too_much_for_a_library():
    raise ImportError("libtorch_cpu.so: failed to map segment from shared object")


def too_much_for_a_fork():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


SHORT = [
    *(too_much_torch, too_much_numpy, too_much_python, too_much_cuda),
    *(too_much_for_a_thread, too_much_for_a_library, too_much_for_a_fork, too_much_for_a_kernel),
]


def test_an_error_of_python_itself_counts_where_there_is_no_room(monkeypatch):
    error = SystemError("error return without exception set")
    assert not is_out_of_memory(error)
    monkeypatch.setattr("transferkit.system.memory.ROOM", HUGE)
    assert is_out_of_memory(error)


@pytest.mark.parametrize("ask", SHORT)
def test_every_kind_is_recognised(ask):
    with pytest.raises(OutOfMemory, match="here") as caught, enough_memory(lambda: "here"):
        ask()
    assert caught.value.__cause__ is not None and caught.value.exit_code == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("x")])
def test_nothing_else_is(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), enough_memory(lambda: "here"):
        raise error


def test_the_smaller_batch_makes_the_same_steps():
    assert smaller_batch(64, 1) == (16, 4) and smaller_batch(2, 1) == (1, 2) and smaller_batch(1, 8) is None
    for batch in range(2, 70):
        for accumulate in (1, 2, 3, 5):
            size, times = smaller_batch(batch, accumulate)
            assert size < batch and size * times == batch * accumulate


@dataclass
class Hungry:
    """Runs short in one hook, at one step."""

    where: str = "penalty"
    metrics = ("x",)

    def penalty(self, features, step):
        if self.where == "penalty" and step == 5:
            too_much_cuda()
        return features.sum() * 0

    def setup(self, session):
        if self.where == "setup":
            too_much_torch()

    def epoch_end(self, session):
        if self.where == "epoch_end":
            too_much_numpy()

    def analyze(self, session):
        too_much_torch()
        return Report({"x": 1.0})


@pytest.mark.parametrize(
    ("where", "place"),
    [("penalty", "at step 5 of 8"), ("setup", "at step 0 of 8"), ("epoch_end", "at step 4 of 8")],
)
def test_a_stage_says_where_and_what_fits(run, registry, tmp_path, where, place):  # noqa: F811
    offer(registry, "regularizer", "hungry", Hungry)
    use = {"use": "hungry", "weight": 1.0, "where": where}
    with pytest.raises(OutOfMemory) as caught:
        run(regularizers=[use])
    text = str(caught.value)
    assert f'stage "target" ran out of memory {place} (batch_size: 8)' in text
    assert "batch_size: 2, accumulate: 4" in text and "batch norm" in text
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    assert json.loads((folder / "result.json").read_text())["status"] == "failed"
    saved = list((folder / "stages/target/checkpoints").glob("step-*"))
    assert len(saved) == (1 if where == "penalty" else 0)
    assert (f"transferkit resume {folder}" in text) == bool(saved)


def test_an_analysis_costs_only_itself(run, registry):  # noqa: F811
    offer(registry, "analyzer", "hungry", Hungry)
    offer(registry, "regularizer", "other", Hungry)
    top = {"analyses": [{"use": "hungry", "dataset": "tiny"}]}
    with pytest.raises(OutOfMemory, match=r'the analysis "hungry" ran out of memory') as caught:
        run(top=top, epochs=1)
    assert isinstance(caught.value, TransferkitError)


@pytest.mark.parametrize("verb", ["predict", "evaluate", "doctor"])
def test_a_command_ends_in_a_sentence(verb, monkeypatch, capsys, tmp_path):
    def short(*_, **__):
        too_much_torch()

    for module in ("predict", "evaluate"):
        monkeypatch.setattr(import_module(f"transferkit.cli.{module}"), "model_folder", short)
    monkeypatch.setattr(import_module("transferkit.cli.doctor_machine"), "versions", short)
    given = {"predict": ["m", "x.png"], "evaluate": ["m", "--data", str(tmp_path)], "doctor": []}[verb]
    with pytest.raises(SystemExit) as caught:
        main([verb, *given])
    printed = capsys.readouterr().err
    assert caught.value.code == 1 and printed.startswith("out of memory") and "Traceback" not in printed


def test_it_does_not_import_torch():
    code = "import sys, transferkit.system.memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Results are kept by what they follow from, and nothing on disk can spoil or execute anything."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from transferkit.errors import InputError
from transferkit.training.cache import Cache
from transferkit.training.workspace import State, Workspace


class Counting:
    def __init__(self, value: float = 1.0) -> None:
        self.calls = 0
        self.value = value

    def __call__(self):
        self.calls += 1
        return {"x": torch.full((3,), self.value)}


def test_the_same_facts_are_computed_once_per_process(tmp_path):
    cache, compute = Cache(tmp_path), Counting()
    assert cache.get({"a": 1}, compute)["x"].tolist() == [1, 1, 1]
    assert cache.get({"a": 1}, compute)["x"].tolist() == [1, 1, 1]
    cache.get({"a": 2}, compute)
    assert compute.calls == 2


def test_another_process_reads_them_from_disk(tmp_path):
    Cache(tmp_path).get({"a": 1}, Counting(5.0))
    compute = Counting(6.0)
    assert Cache(tmp_path).get({"a": 1}, compute)["x"].tolist() == [5, 5, 5]
    assert compute.calls == 0


def test_what_must_not_be_kept_is_not_on_disk(tmp_path):
    Cache(tmp_path).get({"a": 1}, Counting(), keep=False)
    assert list(tmp_path.iterdir()) == []
    assert Cache(None).get({"a": 1}, Counting())["x"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("damage", [b"", b"\x80\x04pickle", b"\x10\x00\x00\x00\x00\x00\x00\x00{not json"])
def test_a_damaged_file_only_costs_a_computation(tmp_path, damage):
    Cache(tmp_path).get({"a": 1}, Counting())
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(damage)
    said = []
    assert Cache(tmp_path).get({"a": 1}, Counting(2.0), warn=said.append)["x"].tolist() == [2, 2, 2]
    assert len(said) == 1 and str(path) in said[0] and "computed again" in said[0]
    again = Cache(tmp_path).get({"a": 1}, Counting(3.0), warn=said.append)
    assert again["x"].tolist() == [2, 2, 2] and len(said) == 1  # written anew


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache, compute = Cache(tmp_path / "file" / "below"), Counting()
    cache.get({"a": 1}, compute)
    cache.get({"a": 1}, compute)
    assert compute.calls == 1


def test_what_was_used_longest_ago_goes_first(tmp_path):
    one = Cache(tmp_path)
    for number in range(3):
        one.get({"a": number}, Counting())
    files = sorted(tmp_path.glob("*.safetensors"))
    size = files[0].stat().st_size
    now = time.time()
    for path in files:
        os.utime(path, (now - 100, now - 100))
    Cache(tmp_path).get({"a": 1}, Counting())  # used now
    Cache(tmp_path, limit=2 * size).get({"a": 3}, Counting())
    kept = Cache(tmp_path)
    calls = []
    for number in (1, 3, 0, 2):
        compute = Counting()
        kept.get({"a": number}, compute)
        calls.append(compute.calls)
    assert calls == [0, 0, 1, 1]


def test_a_flipped_bit_anywhere_is_found(tmp_path):
    Cache(tmp_path).get({"a": 1}, Counting())
    (path,) = tmp_path.glob("*.safetensors")
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for at in (9, start // 2, start, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        compute, said = Counting(2.0), []
        assert Cache(tmp_path).get({"a": 1}, compute, warn=said.append)["x"].tolist() in ([1, 1, 1], [2, 2, 2])
        assert compute.calls == len(said) and (said or at < start)
        path.write_bytes(data)


def test_every_dtype_comes_back(tmp_path):
    given = {
        "bits": torch.tensor([True, False]), "half": torch.ones(2, 3, dtype=torch.bfloat16), "none": torch.zeros(0, 4),
        "count": torch.tensor(7), "turned": torch.arange(6.0).reshape(2, 3).T,
    }  # fmt: skip
    Cache(tmp_path).get({"a": 1}, lambda: given)
    found = Cache(tmp_path).get({"a": 1}, dict)
    assert found.keys() == given.keys() and all(torch.equal(found[name], given[name]) for name in given)


def test_half_a_file_of_a_process_that_is_no_more_goes(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, own = tmp_path / f".tmp-{dead.pid}-x.safetensors", tmp_path / f".tmp-{os.getpid()}-x.safetensors"
    for path in (left, own):
        path.write_bytes(b"half")
    Cache(tmp_path, limit=1).get({"a": 1}, Counting())
    assert not left.exists() and own.exists() and len(list(tmp_path.glob("[!.]*.safetensors"))) == 1


def session_of(folder, first=True, processes=1, meeting=lambda: None):
    """A training session with nothing but a cache; `meeting` is called where processes wait for each other."""
    accelerator = SimpleNamespace(
        is_main_process=first, num_processes=processes, device=torch.device("cpu"), wait_for_everyone=meeting
    )
    workspace = Workspace.__new__(Workspace)
    workspace.cache, workspace.accelerator, workspace.state = folder, accelerator, State()
    workspace.display = SimpleNamespace(warn=lambda text: None)
    return workspace


def test_a_training_session_keeps_what_it_measured_and_warns_of_damage(tmp_path):
    session_of(tmp_path).cached({"a": 1}, Counting(4.0))
    compute, again = Counting(5.0), session_of(tmp_path)
    assert again.cached({"a": 1}, compute)["x"].tolist() == [4, 4, 4] and compute.calls == 0
    (path,) = tmp_path.glob("results/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert again.cached({"a": 1}, compute)["x"].tolist() == [5, 5, 5]
    assert [warning for warning in again.state.warnings if str(path) in warning and "computed again" in warning]


def test_the_first_of_several_processes_computes_before_the_others_look(tmp_path):
    order = []

    def compute():
        order.append("computed")
        return {"x": torch.ones(3)}

    session_of(tmp_path, meeting=lambda: order.append("met")).cached({"a": 1}, compute)
    assert order == ["computed", "met"]
    session_of(tmp_path, first=False, meeting=lambda: order.append("other met")).cached({"a": 1}, compute)
    assert order == ["computed", "met", "other met"]

    def fail():
        raise InputError("no")

    with pytest.raises(InputError):
        session_of(tmp_path, meeting=lambda: order.append("met after an error")).cached({"a": 2}, fail)
    assert order[-1] == "met after an error"


def share(rank, folder, results):
    """A process of two that would find something else than the other."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    session = session_of(folder / "cache", rank == 0, 2, distributed.barrier)
    # a file gives its tensors in another order than this
    found = session.cached({"a": 1}, lambda: {"y": torch.tensor(rank), "x": torch.full((3 + rank,), float(rank))})
    results.put((rank, found["x"].tolist(), found["y"].item()))
    distributed.destroy_process_group()


@pytest.mark.parametrize("writable", [True, False])
def test_all_processes_have_the_first_ones_result(tmp_path, writable):
    if not writable:
        (tmp_path / "cache").write_text("in the way")
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=share, args=(rank, tmp_path, results)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert sorted(results.get() for _ in processes) == [(0, [0, 0, 0], 0), (1, [0, 0, 0], 0)]

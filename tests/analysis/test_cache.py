"""Results are kept by what they follow from, and nothing on disk can spoil or execute anything."""

from __future__ import annotations

import os
import time

import pytest
import torch

from transferkit.analysis.cache import Cache


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
    compute = Counting(2.0)
    assert Cache(tmp_path).get({"a": 1}, compute)["x"].tolist() == [2, 2, 2]
    assert Cache(tmp_path).get({"a": 1}, Counting(3.0))["x"].tolist() == [2, 2, 2]  # written anew


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
        compute = Counting(2.0)
        assert Cache(tmp_path).get({"a": 1}, compute)["x"].tolist() in ([1, 1, 1], [2, 2, 2])
        assert compute.calls == 1 or at < start
        path.write_bytes(data)


def test_every_dtype_comes_back(tmp_path):
    given = {
        "bits": torch.tensor([True, False]), "half": torch.ones(2, 3, dtype=torch.bfloat16), "none": torch.zeros(0, 4),
        "count": torch.tensor(7), "turned": torch.arange(6.0).reshape(2, 3).T,
    }  # fmt: skip
    Cache(tmp_path).get({"a": 1}, lambda: given)
    found = Cache(tmp_path).get({"a": 1}, dict)
    assert found.keys() == given.keys() and all(torch.equal(found[name], given[name]) for name in given)

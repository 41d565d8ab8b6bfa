"""Headers of weights files, and every kind of file that is not one."""

from __future__ import annotations

import json
import os
import pickle
import random
import socket
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from transferkit.errors import InputError
from transferkit.model.weights import read_weights
from transferkit.system.safetensors_header import TensorInfo, read_header


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, str(path), metadata={"x": "1"})
    return path


def with_header(path, header: object, data: bytes = b"") -> None:
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def test_names_dtypes_and_shapes(weights):
    assert read_header(weights) == {"a": TensorInfo("F32", (2, 3)), "b": TensorInfo("BF16", (4,))}


def test_reading_imports_no_torch(weights):
    code = (
        "import sys; from transferkit.system.safetensors_header import read_header; "
        f"read_header({str(weights)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_of_torch_save_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"a zip archive, as torch\.save writes them.*convert it: transferkit convert"):
        read_header(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_refused(tmp_path, protocol):
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps({"a": list(range(5000))}, protocol=protocol))
    with pytest.raises(InputError, match=r"a Python pickle\. It is never opened.*convert it: transferkit convert"):
        read_header(path)


def test_old_files_of_torch_save_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="a Python pickle"):
        read_header(path)


def test_a_header_length_that_looks_like_a_pickle_is_fine(tmp_path):
    path = tmp_path / "w.safetensors"
    for length in (0x0280, 0x0480):
        header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
        raw = json.dumps(header).encode().ljust(length)
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0")
        assert read_header(path) == {"a": TensorInfo("U8", (1,))}


@pytest.mark.parametrize("keep", [0, 5])
def test_almost_empty_files(weights, keep):
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(InputError, match="empty or truncated"):
        read_header(weights)


def test_a_file_cut_in_its_header(weights):
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(InputError, match="the length of its header is impossible"):
        read_header(weights)


def test_a_file_cut_in_its_tensors(weights):
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated: the header promises 32 bytes of tensors and the file holds 31"):
        read_header(weights)


def test_bytes_after_the_tensors(weights):
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(InputError, match="damaged"):
        read_header(weights)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([1], "not a JSON object"),
        ({}, "holds no tensors"),
        ({"a": 1}, 'the entry of tensor "a" cannot be read'),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "does not fit its 4 bytes"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "impossible shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}, "impossible shape or offset"),
    ],
)
def test_headers_that_make_no_sense(tmp_path, header, reason):
    path = tmp_path / "w.safetensors"
    with_header(path, header, b"\0\0\0\0")
    with pytest.raises(InputError, match=reason):
        read_header(path)


def test_text_and_other_formats(tmp_path):
    path = tmp_path / "w.safetensors"
    for content, reason in [
        (b"just some text, long enough", "not a readable safetensors file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (struct.pack("<Q", 4) + b"{]{]", "its header is not JSON"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            read_header(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="there is no such weights file"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="a folder"):
        read_header(tmp_path)


def test_mutations_are_refused_or_whole(weights):
    data = weights.read_bytes()
    read = 0
    for seed in range(400):
        rng = random.Random(seed)
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data) - 32)  # header only: the numbers themselves may be any
            changed[at : at + rng.choice((0, 1, 1))] = rng.randbytes(rng.choice((0, 1, 1, 1, 3)))
        weights.write_bytes(changed)
        try:
            assert read_weights(weights)
            read += 1
        except InputError as error:
            assert str(weights) in str(error), seed
    assert read < 200


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, reason in {
        "folder": "a folder; give the .safetensors file itself",
        "pipe": "a pipe, socket or device, not a file", "socket": "a pipe, socket",
        "dangling": "a link to a file that does not exist", "loop": "cannot be read: Too many levels",
        "x" * 300: "cannot be read: File name too long", "a\0b": "cannot be read: embedded null",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=reason):
            read_header(tmp_path / name)
    save_file({"a": torch.zeros(1)}, str(tmp_path / "w.safetensors"))
    (tmp_path / "link").symlink_to(tmp_path / "w.safetensors")
    assert read_header(tmp_path / "link") == {"a": TensorInfo("F32", (1,))}

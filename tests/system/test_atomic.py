"""Small JSON files that may be damaged, and what is written aside before it is moved."""

import os
import subprocess
import sys

import pytest

from transferkit.errors import InputError, StorageError
from transferkit.system.atomic import ASIDE, aside, make_folder, read_json, remove_leftovers, write_text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b'{"a": 1', "cannot be read"),
        (b"[1, 2]", "holds a list, not an object"),
        (b"null", "holds null, not an object"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_damaged(tmp_path, content, says):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read_json(tmp_path / "a.json", what="start anew")
    assert str(tmp_path / "a.json") in str(error.value) and "start anew" in str(error.value)


def test_missing_and_fine(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="is not a file"):
        read_json(tmp_path)
    (tmp_path / "a.json").write_text("[1]")
    assert read_json(tmp_path / "a.json", list) == [1]


def test_what_the_dead_left_is_removed_and_the_living_keep_theirs(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(child.stdout)
    (tmp_path / f"{ASIDE}{dead}-a[1].csv").touch()
    (tmp_path / f"{ASIDE}{dead}-a[1].csv-x").mkdir()
    others = [tmp_path / f"{ASIDE}{dead}-b.csv", aside(tmp_path / "a[1].csv"), tmp_path / f"{ASIDE}step-1-{dead}"]
    for path in others:
        path.touch()
    remove_leftovers(tmp_path, "a[1].csv")
    assert sorted(tmp_path.iterdir()) == sorted(others)
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others[1:])


def test_a_write_that_is_interrupted_leaves_the_old_file_alone(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")

    def stop(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/c could not be written: Not a directory"):
        make_folder(tmp_path / "file" / "c")

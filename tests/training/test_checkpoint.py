from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from transferkit.errors import InputError, StorageError, TransferkitError
from transferkit.model.weights import save_tensors
from transferkit.training.checkpoint import MANIFEST, Checkpoints, verify


def write(text: str):
    def into(folder: Path) -> None:
        (folder / "a.txt").write_text(text)
        (folder / "b.bin").write_bytes(bytes(1000))

    return into


def save(store: Checkpoints, step: int, write: Callable[[Path], None], *, best: bool) -> Path:
    """Publish it and wait until it is on the disk."""
    store.save(step, write, best=best)
    return store.folder / f"step-{step:06d}"


def test_the_newest_valid_one_is_found_and_old_ones_go(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        save(store, step, write(str(step)), best=step == 2)
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000002", "step-000004", "step-000005"]
    assert store.newest().name == "step-000005"
    assert store.best().name == "step-000002"
    assert (tmp_path / "last").read_text() == "step-000005\n"


def damage_flip(folder: Path) -> None:
    content = bytearray((folder / "b.bin").read_bytes())
    content[500] ^= 1
    (folder / "b.bin").write_bytes(content)


def damage_truncate(folder: Path) -> None:
    (folder / "b.bin").write_bytes(bytes(10))


def damage_missing(folder: Path) -> None:
    (folder / "a.txt").unlink()


def damage_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (damage_flip, "b.bin does not match its checksum"),
        (damage_truncate, "b.bin has 10 bytes instead of 1000"),
        (damage_missing, "a.txt is missing"),
        (damage_manifest, "manifest.json is missing or unreadable"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path: Path, damage, names: str) -> None:
    said: list[str] = []
    store = Checkpoints(tmp_path, keep=3, warn=said.append)
    save(store, 1, write("1"), best=False)
    save(store, 2, write("2"), best=True)
    damage(tmp_path / "step-000002")
    assert verify(tmp_path / "step-000002") == names
    assert store.newest().name == "step-000001"
    assert names in said[0]
    assert "step-000001" in said[0]
    assert store.best() is None  # as it was at step 1


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_newer_one_does_not_push_whole_ones_out(tmp_path: Path, keep: int) -> None:
    """A run that went on from an older one comes to steps below it; a folder of somebody else may have any number."""
    store = Checkpoints(tmp_path, keep=keep, warn=lambda text: None)
    save(store, 1, write("1"), best=True)
    save(store, 9, write("9"), best=False)
    damage_flip(tmp_path / "step-000009")
    (tmp_path / "step-99999999999999999999").mkdir()
    again = Checkpoints(tmp_path, keep=keep, warn=lambda text: None)
    assert again.newest().name == "step-000001"
    for step in (3, 5):
        save(again, step, write(str(step)), best=step == 3)
    assert [verify(tmp_path / f"step-{step:06d}") for step in (3, 5)] == [None, None]
    assert Checkpoints(tmp_path, warn=lambda text: None).newest().name == "step-000005"
    save(again, 9, write("9"), best=False)
    assert Checkpoints(tmp_path, warn=lambda text: None).newest().name == "step-000009"


def test_a_damaged_best_one_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    save(store, 1, write("1"), best=True)
    save(store, 2, write("2"), best=False)
    damage_flip(tmp_path / "step-000001")
    with pytest.raises(TransferkitError, match="damaged"):
        store.best()


def test_the_files_beside_the_checkpoints_are_not_believed(tmp_path: Path) -> None:
    """A kill between publishing a checkpoint and writing `best` left the older name there."""
    store = Checkpoints(tmp_path)
    save(store, 1, write("1"), best=True)
    save(store, 2, write("2"), best=True)
    (tmp_path / "best").write_text("step-000001\n")
    (tmp_path / "last").write_text("step-000001\n")
    again = Checkpoints(tmp_path)
    assert again.newest().name == again.best().name == "step-000002"


def test_steps_are_numbers(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in (999_998, 999_999, 1_000_000, 1_000_001):
        save(store, step, write(str(step)), best=step == 999_998)
    assert [folder.name for folder in store.folders()] == ["step-1000001", "step-1000000", "step-999998"]
    assert store.newest().name == "step-1000001"
    assert store.best().name == "step-999998"


def test_what_an_older_one_calls_the_best_is_kept_as_long_as_it_is(tmp_path: Path) -> None:
    """So that the newest one may be damaged."""
    store = Checkpoints(tmp_path, keep=2, warn=lambda text: None)
    save(store, 1, write("1"), best=True)
    save(store, 2, write("2"), best=False)
    save(store, 3, write("3"), best=True)
    damage_flip(tmp_path / "step-000003")
    again = Checkpoints(tmp_path, warn=lambda text: None)
    assert (again.newest().name, again.best().name) == ("step-000002", "step-000001")


def test_a_step_that_is_written_twice_is_never_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path, keep=1)
    save(store, 1, write("old"), best=True)
    replace = os.replace

    def killed(source: object, target: object) -> None:
        if Path(str(target)).name == "step-000001":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as a kill would
    with pytest.raises(KeyboardInterrupt):
        save(store, 1, write("new"), best=True)
    monkeypatch.undo()
    assert (Checkpoints(tmp_path).open().newest() / "a.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["step-000001"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 2}', '{"format": 2, "files": {"a": "b"}}', "null", "7"])
def test_a_manifest_that_is_none_blocks_nothing(tmp_path: Path, content: str) -> None:
    store = Checkpoints(tmp_path, keep=3, warn=lambda text: None)
    save(store, 1, write("1"), best=False)
    save(store, 2, write("2"), best=False)
    (tmp_path / "step-000002" / MANIFEST).write_text(content)
    (tmp_path / "step-x").mkdir()
    assert store.newest().name == "step-000001"
    save(store, 3, write("3"), best=False)
    assert store.newest().name == "step-000003"


def test_none_left_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    assert store.newest() is None
    assert store.best() is None
    save(store, 1, write("1"), best=False)
    damage_flip(tmp_path / "step-000001")
    with pytest.raises(InputError, match="no valid checkpoint"):
        store.newest()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left (os 28)")])
def test_a_save_that_fails_leaves_the_others_whole(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transferkit.model.weights.save_file", full)
    said: list[str] = []
    store = Checkpoints(tmp_path, warn=said.append)
    save(store, 1, write("1"), best=True)

    def full_disk(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        save_tensors({"a": torch.zeros(1)}, folder / "a.safetensors")

    with pytest.raises(StorageError, match=r"step-000002 could not be written: .*No space left"):
        save(store, 2, full_disk, best=False)
    assert "the checkpoints before it are kept" in said[0]
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["step-000001"]
    save(store, 3, write("3"), best=False)
    assert store.newest().name == "step-000003"


def test_a_best_one_that_the_disk_did_not_take_comes_before_the_next(tmp_path: Path) -> None:
    store, full = Checkpoints(tmp_path, warn=lambda text: None), [True]

    def when_there_is_room(text: str):
        def into(folder: Path) -> None:
            if full[0]:
                raise OSError(28, "No space left on device")
            write(text)(folder)

        return into

    save(store, 1, write("1"), best=True)
    store.begin(2, when_there_is_room("2"), best=True)
    store.begin(3, when_there_is_room("3"), best=False)
    store.close()
    assert (store.newest().name, store.best().name) == ("step-000001", "step-000001")
    full[0] = False
    store.settle()
    again = Checkpoints(tmp_path)
    assert (again.newest().name, again.best().name) == ("step-000003", "step-000002")


def test_in_the_background_a_failure_is_said_with_the_next(tmp_path: Path) -> None:
    said: list[str] = []
    store = Checkpoints(tmp_path, warn=said.append)
    going_on = threading.Event()

    def slow(folder: Path) -> None:
        going_on.wait(10)
        write("1")(folder)

    store.begin(1, slow, best=True)
    assert not list(tmp_path.glob("step-*"))
    going_on.set()
    store.settle()
    assert store.newest().name == store.best().name == "step-000001"


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-000007-1").mkdir()
    store = Checkpoints(tmp_path)
    assert store.newest() is None and list(tmp_path.iterdir()), "reading changes nothing: the run may be going on"
    save(store, 8, write("8"), best=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step-000008"]


def test_the_newest_of_at_most_so_many_steps(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=4)
    for step in (9, 999_999, 1_000_000):
        save(store, step, write(str(step)), best=False)
    found = {at_most: store.newest(at_most) for at_most in (8, 9, 999_999, 1_000_001, None)}
    names = {at_most: folder and folder.name for at_most, folder in found.items()}
    assert names == {
        8: None,
        9: "step-000009",
        999_999: "step-999999",
        1_000_001: "step-1000000",
        None: "step-1000000",
    }

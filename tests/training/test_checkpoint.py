from __future__ import annotations

from pathlib import Path

import pytest

from transferkit.errors import InputError, TransferkitError
from transferkit.training.checkpoint import MANIFEST, Checkpoints, verify


def write(text: str):
    def into(folder: Path) -> None:
        (folder / "a.txt").write_text(text)
        (folder / "b.bin").write_bytes(bytes(1000))

    return into


def test_the_newest_valid_one_is_found_and_old_ones_go(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        store.save(step, write(str(step)), best=step == 2)
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
    store.save(1, write("1"), best=False)
    store.save(2, write("2"), best=True)
    damage(tmp_path / "step-000002")
    assert verify(tmp_path / "step-000002") == names
    assert store.newest().name == "step-000001"
    assert names in said[0]
    assert "step-000001" in said[0]
    with pytest.raises(TransferkitError, match="damaged"):
        store.best()


def test_none_left_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    assert store.newest() is None
    assert store.best() is None
    store.save(1, write("1"), best=False)
    damage_flip(tmp_path / "step-000001")
    with pytest.raises(InputError, match="no valid checkpoint"):
        store.newest()


def test_a_save_that_fails_leaves_the_others_whole(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, write("1"), best=True)

    def full_disk(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(TransferkitError, match="No space left"):
        store.save(2, full_disk, best=True)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["step-000001"]
    assert store.best().name == "step-000001"


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-000007-1").mkdir()
    store = Checkpoints(tmp_path)
    assert store.newest() is None and list(tmp_path.iterdir()), "reading changes nothing: the run may be going on"
    store.save(8, write("8"), best=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step-000008"]


def test_the_newest_of_at_most_so_many_steps(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=4)
    for step in (9, 999_999, 1_000_000):
        store.save(step, write(str(step)), best=False)
    found = {at_most: store.newest(at_most) for at_most in (8, 9, 999_999, 1_000_001, None)}
    names = {at_most: folder and folder.name for at_most, folder in found.items()}
    assert names == {
        8: None,
        9: "step-000009",
        999_999: "step-999999",
        1_000_001: "step-1000000",
        None: "step-1000000",
    }

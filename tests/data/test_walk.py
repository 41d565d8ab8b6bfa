"""Any folder tree: every file is a sample or counted, links end, and a tar of it is the same data set."""

from __future__ import annotations

import io
import os
import random
import stat
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.data import walk
from transferkit.data.archives import open_archive
from transferkit.data.folders import class_folders, on_disk
from transferkit.data.sources import open_split
from transferkit.data.survey import survey
from transferkit.data.walk import FORMATS
from transferkit.errors import InputError
from transferkit.recipe.counting import class_counts, forget
from transferkit.recipe.schema import Dataset

CLASSES = ("red", "green \u00e9", "e\u0301cru", " blank ", "Red", "0", "n01440764")
LINKS = ("link", walk.LINK, walk.BROKEN, walk.SPECIAL)


def picture(rng):
    data = io.BytesIO()
    colour = tuple(rng.randrange(256) for _ in range(3))
    Image.new("RGB", (3, 2), colour).save(data, "PNG")
    return data.getvalue()


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def fill(folder, rng, depth=0):
    """Images, notes, hidden files, folders and links of all kinds; at least one image."""
    folder.mkdir(parents=True)
    for index in range(rng.randint(1, 3)):
        ending = rng.choice([".png", ".PNG", ".jpg", ".gif", ".jfif", ".Avif"])
        (folder / f"{index}{ending}").write_bytes(picture(rng))
    for name in ("notes.txt", ".DS_Store", "._0.png", "film.MOV", "README", "Thumbs.db", "caf\u00e9.csv"):
        if rng.random() < 0.3:
            (folder / name).write_bytes(b"no image")
    images = sorted(path for path in folder.iterdir() if walk.is_image(path.name))
    if rng.random() < 0.3:
        os.link(images[0], folder / "hard.png")
    for name, target in (
        ("soft.png", images[0].name),
        ("back", ".."),
        ("self", "."),
        ("nowhere", "missing"),
        ("deep2", "deep"),
    ):
        if rng.random() < 0.3:
            (folder / name).symlink_to(target)
    for name in ("deep", ".cache", "__MACOSX", "empty"):
        if depth < 2 and rng.random() < 0.4:
            (folder / name).mkdir() if name == "empty" else fill(folder / name, rng, depth + 1)


def tree(root, seed):
    rng = random.Random(seed)
    classes = rng.sample(CLASSES, rng.randint(2, 5))
    for split in ("train", "val", "Testing")[: rng.randint(1, 3)]:
        for name in classes if split == "train" else rng.sample(classes, 2):
            fill(root / split / name, rng)
        if rng.random() < 0.5:
            touch(root, f"{split}/loose.png", f"{split}/loose.txt", f"{split}/.hidden")
    for name in ("extra", ".git", "bus"):
        if rng.random() < 0.4:
            fill(root / name, rng)
    touch(root, *[name for name in ("README.md", "stray.jpg", ".x") if rng.random() < 0.5])
    return root


def regular_files(root):
    """All that are there, by the standard library alone."""
    found = (Path(place) / name for place, _, files in os.walk(root) for name in files)
    return {path for path in found if stat.S_ISREG(path.lstat().st_mode)}


def counted(found):
    """Files that are left out, without links."""
    kinds = Counter()
    for one in found.left_out:
        kinds.update({kind: number for kind, number in one.kinds.items() if kind not in LINKS})
    return kinds


@pytest.mark.parametrize("seed", range(12))
def test_every_file_is_a_sample_or_counted_once(tmp_path, seed):
    root = tree(tmp_path / "d", seed)
    found = survey(on_disk(root), {})
    used = {Path(os.path.realpath(path)) for paths in found.files().values() for path in paths}
    files = regular_files(root)
    assert used <= files
    assert counted(found).total() == len(files - used)
    hidden = [path for path in files - used if any(walk.is_hidden(part) for part in path.relative_to(root).parts)]
    assert counted(found)["hidden"] == len(hidden)
    assert not any(walk.is_hidden(part) for path in used for part in path.relative_to(root).parts)
    # whatever could be read and is not used lies where the rules do not look
    misplaced = [path for path in files - used - set(hidden) if walk.is_image(path.name)]
    assert sum(one.misplaced for one in found.left_out) == len(misplaced)


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_counts_what_a_run_opens_and_a_tar_is_the_same(tmp_path, seed):
    root = tree(tmp_path / "d", seed)
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        archive.add(root, arcname=random.Random(seed).choice([".", "d", "a/b"]))
    kinds = {"folder": Dataset(folder=str(root)), "tar": Dataset(tar=str(tmp_path / "d.tar"))}
    forget()
    counts = {kind: class_counts(kind, kinds) for kind in kinds}
    assert counts["folder"] == counts["tar"]
    for split in ("train", "val", "test"):
        ours, theirs = (open_split(kind, kinds, split) for kind in kinds)
        if ours is None:
            assert theirs is None and split not in counts["folder"]
            continue
        numbers = {name: number for name, number in counts["folder"][split].items() if number}
        assert Counter(ours.classes[label] for label in ours.labels) == numbers
        assert (theirs.classes, theirs.labels.tolist()) == (ours.classes, ours.labels.tolist())
        for place, (id, other) in enumerate(zip(ours.ids, theirs.ids, strict=True)):
            assert other.endswith(f"/{id}") and other.startswith("d.tar/")
            assert np.array_equal(np.asarray(ours.image(place)), np.asarray(theirs.image(place)))
    surveys = [survey(place, {}) for place in (on_disk(root), open_archive(tmp_path / "d.tar"))]
    on_disk_kinds, in_tar_kinds = ({one.folder: dict(one.kinds) for one in found.left_out} for found in surveys)
    assert on_disk_kinds == in_tar_kinds


def test_the_endings_are_those_that_pillow_gives_the_formats():
    Image.init()
    known = Image.registered_extensions()
    for form, endings in FORMATS.items():
        assert all(known.get(ending, form) == form for ending in endings)
    assert walk.is_image("X.JFIF") and not walk.is_image("._x.jpg") and not walk.is_image("x.heic")


# --- links --------------------------------------------------------------------------------------------------


def test_loops_end(tmp_path):
    root = touch(tmp_path, "train/a/1.jpg", "train/a/deep/2.jpg", "train/b/1.jpg")
    for name, target in {"up": "..", "top": "../..", "self": ".", "file": "/", "deep/round": ".."}.items():
        (root / "train/a" / name).symlink_to(target)
    (root / "train" / "whole").symlink_to(".")
    found = class_folders(on_disk(root), "train")
    assert found.images == {"a": ["train/a/1.jpg", "train/a/deep/2.jpg"], "b": ["train/b/1.jpg"]}
    assert found.left_out["train/a"][walk.LINK] == 5 and found.left_out["train"][walk.LINK] == 1


def test_two_folders_that_lead_into_each_other(tmp_path):
    root = touch(tmp_path, "d/a/1.jpg", "pool/x/2.jpg", "pool/y/3.jpg")
    (root / "d/a/x").symlink_to(root / "pool/x")
    (root / "pool/x/y").symlink_to(root / "pool/y")
    (root / "pool/y/x").symlink_to(root / "pool/x")
    assert class_folders(on_disk(root / "d"), "").images == {"a": ["a/1.jpg", "a/x/2.jpg", "a/x/y/3.jpg"]}


@pytest.mark.parametrize("link", ["train/b/again.jpg", "train/c", "train/b/more", "val/b/2.jpg"])
def test_one_image_under_two_labels_is_refused_by_name(tmp_path, link):
    root = touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/3.jpg", "val/b/4.jpg")
    (root / link).symlink_to(root / ("train/a" if Path(link).suffix == "" else "train/a/1.jpg"))
    with pytest.raises(InputError, match=r'1\.jpg .*are one image under two labels, "a" and "[bc]"'):
        survey(on_disk(root), {})


def test_links_that_change_no_label_are_followed(tmp_path):
    """A data set of nothing but links, and one whose val is train."""
    root = touch(tmp_path, "pool/1.jpg", "pool/2.jpg")
    for label, number in (("a", 1), ("b", 2)):
        (root / "d/train" / label).mkdir(parents=True)
        (root / f"d/train/{label}/x.jpg").symlink_to(root / f"pool/{number}.jpg")
        (root / f"d/train/{label}/twice.jpg").symlink_to("x.jpg")
    (root / "d/val").symlink_to("train")
    found = survey(on_disk(root / "d"), {})
    names = {label: [f"{label}/twice.jpg", f"{label}/x.jpg"] for label in "ab"}
    for split in ("train", "val"):
        assert found.splits[split] == {a: [f"{split}/{name}" for name in b] for a, b in names.items()}


def test_what_is_no_file(tmp_path):
    root = touch(tmp_path, "a/1.jpg")
    os.mkfifo(root / "a/pipe.jpg")
    (root / "a/gone").symlink_to("nothing")
    (root / "a/round.txt").symlink_to("round.txt")
    (root / "a/gone.jpg").symlink_to("nothing.jpg")  # an image that cannot be read: on_bad_image says what to do
    found = class_folders(on_disk(root), "")
    assert found.images == {"a": ["a/1.jpg", "a/gone.jpg"]}
    assert found.left_out["a"] == {walk.SPECIAL: 1, walk.BROKEN: 2}


def test_a_folder_that_cannot_be_looked_into(tmp_path, monkeypatch):
    root = touch(tmp_path, "a/1.jpg", "b/closed/2.jpg")
    scandir = os.scandir

    def refuse(place):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot look into the folder .*b/closed: Permission denied"):
        class_folders(on_disk(root), "")
    named = [Path(name).relative_to(root).as_posix() for name in walk.image_files([root])]
    assert named == ["a/1.jpg", "b/closed"]


def test_image_files_of_folders_and_files(tmp_path):
    root = touch(tmp_path, "b/2.JPG", "b/deep/0.png", "a.webp", ".hidden/x.png", "b/.y.png", "b/notes.txt")
    (root / "b/loop").symlink_to("..")
    found = [os.path.relpath(name, root) for name in walk.image_files([root])]
    assert found == ["a.webp", "b/2.JPG", "b/deep/0.png"]
    assert list(walk.image_files(["given.dat"])) == ["given.dat"]

"""What is said of files that are no sample, of folders too deep or too shallow, and of images in two splits."""

from __future__ import annotations

import shutil

import pytest

from transferkit.data.folders import find_splits, on_disk, scan
from transferkit.data.survey import copies, copies_line, left_out_line, survey, warnings
from transferkit.errors import InputError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def looked(root, **names):
    return survey(on_disk(root), names)


def test_nothing_to_say(tmp_path):
    found = looked(touch(tmp_path, "train/a/1.jpg", "train/b/1.gif", "dev/a/1.AVIF"))
    assert list(found.splits) == ["train", "val"] and found.left_out == []
    assert left_out_line(found) is None and warnings(found, "d") == []


def test_every_place_has_its_count(tmp_path):
    names = [f"train/a/{index}.txt" for index in range(3)] + ["train/a/._1.jpg", "train/b/x.heic", "notes.md"]
    found = looked(touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", *names))
    assert left_out_line(found) == (
        "left out: 4 files in train/a (.txt 3, hidden 1); 1 file in the data set's folder (.md 1); "
        "1 file in train/b (.heic 1)"
    )
    assert warnings(found, "d") == ["d: 1 file of formats that are not read: .heic 1"]


def test_folders_beside_the_splits(tmp_path):
    beside = [f"{name}/{index}.jpg" for name in ("bus", "car") for index in range(3)]
    root = touch(tmp_path, "train/steam/1.jpg", "train/electric/1.jpg", *beside, "test/1.jpg", "train/loose.png")
    found = looked(root)
    assert warnings(found, "d") == [
        "d: 7 images of bus/, car/, test/ beside train/ left out; if they are classes, say splits: {train: .}; "
        "if they are a split, say splits: {val: FOLDER}",
        "d: 1 image in train left out: in no class folder",
    ]
    whole = looked(root, train=".")
    assert {name: len(images) for name, images in whole.splits["train"].items()} == {
        "bus": 3,
        "car": 3,
        "test": 1,
        "train": 3,
    }


def test_a_split_in_the_middle_of_the_classes_is_none_of_them(tmp_path):
    root = touch(tmp_path, "a/1.jpg", "b/1.jpg", "holdout/a/1.jpg")
    found = looked(root, train=".", val="holdout")
    assert found.splits == {"train": {"a": ["a/1.jpg"], "b": ["b/1.jpg"]}, "val": {"a": ["holdout/a/1.jpg"]}}
    assert found.left_out == []


def test_classes_alike_but_for_case_are_named(tmp_path):
    found = looked(touch(tmp_path, "Cat/1.jpg", "cat/1.jpg"))
    assert warnings(found, "d") == ['d: "Cat" and "cat" of train are two classes, alike but for case']


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        # unzipped one folder too deep, with what a Mac adds
        (
            ["flowers/train/a/1.jpg", "flowers/train/b/1.jpg", "flowers/val/a/1.jpg", "__MACOSX/flowers/._1.jpg"],
            ".",
            r"no folder of classes: flowers/ holds train/, val/\n +did you mean .*/flowers\?",
        ),
        (["flowers/train/a/1.jpg", "flowers/train/b/1.jpg"], ".", r"flowers/ holds train/\n +did you mean .*/flowers"),
        # several data sets, and splits inside of classes
        (["x/train/a/1.jpg", "x/val/a/1.jpg", "y/train/a/1.jpg", "y/val/a/1.jpg"], ".", "give one data set, such as"),
        (["cat/train/1.jpg", "cat/val/1.jpg", "dog/train/1.jpg", "dog/val/1.jpg"], ".", "belong above the classes"),
        # splits twice
        (["train/train/a/1.jpg", "train/val/a/1.jpg"], ".", r"train has no classes: its only folders are train/, val/"),
        (["train/train/a/1.jpg", "train/train/b/1.jpg"], ".", r"its only folders are train/"),
        # no class folders
        (["train/1.jpg", "val/1.jpg"], ".", r"has no class folders: train/, val/ hold images, but no folders"),
        (["1.jpg", "2.jpg"], ".", r"no class folders with images in it .*: 2 images lie in no class folder"),
        (["d/train/a/1.jpg", "d/train/b/1.jpg"], "d/train/a", r"did you mean .*/d\?"),
        (["ok/1.jpg", "nok/1.jpg", "test/1.jpg", "test/2.jpg"], ".", r"is test/ \(2 images\) in .* a class or a split"),
    ],
)
def test_the_wrong_folder_is_refused_with_the_one_that_was_meant(tmp_path, files, given, message):
    root = touch(tmp_path, *files) / given
    with pytest.raises(InputError, match=message):
        looked(root)
    with pytest.raises(InputError, match=message):  # the same at the doors that look at one split
        scan(find_splits(root)["train"])


def test_classes_with_sub_folders_of_any_other_name_are_classes(tmp_path):
    root = touch(
        tmp_path, "train/ship/sail/1.jpg", "train/ship/steam/1.jpg", "train/rail/train/1.jpg", "train/rail/2.jpg"
    )
    assert {name: len(images) for name, images in looked(root).splits["train"].items()} == {"rail": 2, "ship": 2}


def test_images_in_train_and_val(tmp_path):
    root = touch(
        tmp_path, *(f"{split}/{name}/{index}.jpg" for split in ("train", "val") for name in "ab" for index in "12")
    )
    shutil.copy(root / "train/a/1.jpg", root / "val/b/copy.jpg")
    (root / "val/b/empty.jpg").touch()
    (root / "train/b/empty.jpg").touch()
    found = looked(root)
    same = copies(found.tree, found.images())
    assert same.pairs == [("val", "val/b/copy.jpg", "train/a/1.jpg")] and same.unchecked == 0
    assert copies_line(same, "d") == (
        "d: 1 image of val or test is also in train, so results will flatter: val/b/copy.jpg is train/a/1.jpg"
    )
    late = copies(found.tree, found.images(), patience=0)
    assert late.pairs == [] and late.unchecked == 6
    assert copies_line(late, "d") == "d: 6 images of val or test not compared with train in 2 s"
    assert copies_line(copies(found.tree, {"train": found.images()["train"]}), "d") is None


def test_images_that_are_in_train_twice(tmp_path):
    root = touch(tmp_path, *(f"train/{name}/{index}.jpg" for name in "ab" for index in "12"))
    shutil.copy(root / "train/a/1.jpg", root / "train/b/copy.jpg")
    shutil.copy(root / "train/a/2.jpg", root / "train/a/3.jpg")
    for empty in ("train/a/empty.jpg", "train/b/empty.jpg"):
        (root / empty).touch()
    found = looked(root)
    alone = copies(found.tree, found.images(), classes=found.splits["train"])
    assert (alone.contradictions, alone.repeated) == ([("train/b/copy.jpg", "train/a/1.jpg")], 1)
    assert copies_line(alone, "d") == (
        "d: 1 image of train is there under two labels: train/b/copy.jpg is train/a/1.jpg; "
        "1 image of train is there more than once: what is carved from it for validation will flatter"
    )
    touch(root, "val/a/9.jpg", "val/b/99.jpg")
    found = looked(root)
    beside = copies(found.tree, found.images(), classes=found.splits["train"])
    assert (len(beside.contradictions), beside.repeated) == (1, 0)  # nothing is carved beside a val split

"""Splits, classes and class lists on disk."""

from __future__ import annotations

import subprocess
import sys

import pytest

from transferkit.data.folders import class_names, find_splits, read_labels, scan
from transferkit.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_usual_names_in_any_case(tmp_path):
    touch(tmp_path, "Train/a/1.jpg", "validation/a/1.jpg", "testing/a/1.jpg")
    found = find_splits(tmp_path)
    assert {split: path.name for split, path in found.items()} == {
        "train": "Train",
        "val": "validation",
        "test": "testing",
    }


def test_flat_class_folder_is_all_train(tmp_path):
    touch(tmp_path, "ants/1.jpg", "bees/2.PNG")
    assert find_splits(tmp_path) == {"train": tmp_path}


def test_a_folder_that_could_be_a_class_or_a_split(tmp_path):
    touch(tmp_path, "test/1.jpg", "other/2.jpg")
    with pytest.raises(
        InputError, match=r"is test/ \(1 images\) in .* a class or a split\?(.|\n)*splits: \{train: \.\}"
    ):
        find_splits(tmp_path)
    assert find_splits(tmp_path, {"train": "."}) == {"train": tmp_path}
    (tmp_path / "test" / "1.jpg").unlink()
    assert find_splits(tmp_path) == {"train": tmp_path}


def test_names_of_the_recipe(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "holdout/a/1.jpg")
    assert find_splits(tmp_path, {"val": "holdout"})["val"] == tmp_path / "holdout"
    with pytest.raises(InputError, match='did you mean "holdout"'):
        find_splits(tmp_path, {"val": "holdot"})


@pytest.mark.parametrize(
    ("files", "message"),
    [([], "no class folders with images"), (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "say which is meant")],
)
def test_what_is_refused(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=message):
        find_splits(tmp_path)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_splits(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file"):
        find_splits(touch(tmp_path, "x.jpg") / "x.jpg")


def test_scan_sorts_keeps_empty_classes_and_skips_what_is_hidden(tmp_path):
    touch(tmp_path, "b/2.JPG", "b/1.jpeg", "b/deep/0.webp", "b/._1.jpeg", "b/notes.txt", ".git/x.jpg", "a/.x/1.jpg")
    found = scan(tmp_path)
    assert list(found) == ["a", "b"]
    assert found["a"] == []
    assert [path.relative_to(tmp_path / "b").as_posix() for path in found["b"]] == ["1.jpeg", "2.JPG", "deep/0.webp"]


def test_labels_are_ordered_by_index(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('\ufeffwnid, name ,index\nn2,"a, b",1\nn1,c,0\n', encoding="utf-8")
    rows = read_labels(path)
    assert [(row.index, row.folder, row.name) for row in rows] == [(0, "n1", "c"), (1, "n2", "a, b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header needs the columns"),
        ("index,name\n0,a\n", "header needs the columns"),
        ("index,folder,name\n", "lists no classes"),
        ("index,folder,name\n0,a,a\n0,b,b\n", "index 0 appears 2 times"),
        ("index,folder,name\n0,a,a\n1,a,b\n", "folder 'a' appears 2 times"),
        ("index,folder,name\n0,a,a\n2,b,b\n", "1 is missing"),
        ("index,folder,name\n1,a,a\n", "0 is missing"),
        ("index,folder,name\nzero,a,a\n", ':2: the index "zero"'),
        ("index,folder,name\n0,a\n", "no folder or no name"),
    ],
)
def test_class_lists_that_are_refused(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_missing_class_list(tmp_path):
    with pytest.raises(InputError, match="cannot read the class list"):
        read_labels(tmp_path / "none.csv")


def test_shared_names_get_their_folder(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("index,folder,name\n0,n1,crane\n1,n2,crane\n2,n3,heron\n")
    assert class_names(read_labels(path)) == ["crane (n1)", "crane (n2)", "heron"]


@pytest.mark.real_data
def test_imagenet_list(real_data):
    names = class_names(read_labels(real_data / "imagenet_classes.csv"))
    assert len(names) == len(set(names)) == 1000
    assert names[0].startswith("tench")


def test_importing_it_does_not_import_torch():
    code = "import sys, transferkit.data.folders; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

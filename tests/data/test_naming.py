"""Folders and names of a class list are two namespaces: labels never swap, and texts are compared in one form."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transferkit.analysis.class_mapping import source_class_list
from transferkit.data.naming import same_but_for_case
from transferkit.data.sources import open_split, refuse_one_class
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset

NFC, NFD = "caf\u00e9", "cafe\u0301"
SIGNS = {"0": "20", "1": "30", "2": "50", "20": "dangerous curve", "30": "ice"}


def folders(root, *names, splits=("train", "val")):
    for split in splits:
        for number, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(root / split / name / "0.png")
    return str(root)


def listed(path, rows, header="index,folder,name"):
    text = header + "\n" + "".join(f"{index},{folder},{name}\n" for index, (folder, name) in enumerate(rows))
    path.write_text(text, encoding="utf-8-sig")
    return str(path)


def labels_of(source):
    return {id.split("/")[0]: source.classes[label] for id, label in zip(source.ids, source.labels, strict=True)}


def opened(split="train", order=None, **spec):
    return open_split("d", {"d": Dataset(**spec)}, split, order)


@pytest.fixture
def signs(tmp_path):
    """Class ids as folders, and speeds as names: "20" and "30" are both."""
    return {"folder": folders(tmp_path / "d", *SIGNS), "labels": listed(tmp_path / "l.csv", SIGNS.items())}


def test_a_folder_is_its_own_row(signs):
    for split in ("train", "val"):
        assert labels_of(opened(split, **signs)) == SIGNS
        assert labels_of(opened(split, list(reversed(SIGNS.values())), **signs)) == SIGNS


def test_a_list_that_misses_a_folders_row_is_no_reason_to_guess(signs):
    """ "20" is a dangerous curve; a model that knows only the speed 20 has no such class."""
    with pytest.raises(InputError, match='the class "20" is not in the class list'):
        opened("val", ["20", "30", "50", "ice"], **signs)


def test_classes_of_a_recipe_that_could_be_two(signs):
    with pytest.raises(
        InputError, match='"20" is one class by its folder, and by its name the class in the folder "0"'
    ):
        opened(classes=["20", "ice"], **signs)
    part = opened(classes=["0", "dangerous curve", "ice"], **signs)
    assert labels_of(part) == {"0": "20", "20": "dangerous curve", "30": "ice"}


def test_names_of_a_file_that_could_be_folders_or_names(tmp_path, signs):
    path = tmp_path / "d.npz"
    np.savez(path, x_train=np.zeros((2, 4, 4), np.uint8), y_train=[0, 1], classes=np.array(["20", "ice"]))
    with pytest.raises(InputError, match='"20" is the folder of the class "dangerous curve" and the name of another'):
        opened(npz=str(path), labels=signs["labels"])


def test_two_folders_that_would_be_one_class(tmp_path):
    root = folders(tmp_path / "d", "2", "50")
    with pytest.raises(InputError, match='"2" and "50" would both be the class "50"'):
        opened(folder=root, labels=listed(tmp_path / "l.csv", [("2", "50"), ("3", "70")]))
    with pytest.raises(InputError, match='"Great_White" and "great-white" would both be the class "great white"'):
        source_class_list(["great white", "owl"], Dataset(folder="x"), ["Great_White", "great-white"])


def test_audits_take_a_folder_for_its_own_row(tmp_path):
    spec = Dataset(folder="x", labels=listed(tmp_path / "l.csv", SIGNS.items()))
    assert source_class_list([str(i) for i in range(5)], spec, list(SIGNS)).aliases == SIGNS


@pytest.mark.parametrize(("ours", "theirs"), [(NFC, NFD), (NFD, NFC), (NFD, f" {NFC} ")])
def test_one_form_of_unicode_everywhere(tmp_path, ours, theirs):
    root = folders(tmp_path / "d", ours, "owl", splits=("train",))
    folders(tmp_path / "d", theirs, "owl", splits=("val",))
    for split in ("train", "val"):
        assert set(labels_of(opened(split, folder=root)).values()) == {NFC, "owl"}
    source = opened("val", [NFD, "owl"], folder=root)  # as an earlier version may have saved it
    assert {source.classes[label] for label in source.labels} == {NFD, "owl"}
    assert opened(folder=root, classes=[theirs, "owl"]).classes == [NFC, "owl"]
    labels = listed(tmp_path / "l.csv", [("owl", "an owl"), (theirs, "a caf\u00e9")])
    assert labels_of(opened("val", folder=root, labels=labels)) == {"owl": "an owl", theirs: "a caf\u00e9"}
    mapping = source_class_list([theirs.strip(), "owl"], Dataset(folder="x"), [NFC])
    assert mapping.aliases == {NFC: theirs.strip()}


def test_two_names_that_are_one_text(tmp_path):
    root = folders(tmp_path / "d", NFC, NFD)
    with pytest.raises(InputError, match=r"are both shown as \"caf\xe9\": 'cafe\\u0301' and 'caf\\xe9'"):
        opened(folder=root)
    path = tmp_path / "d.npz"
    np.savez(path, x_train=np.zeros((2, 4, 4), np.uint8), y_train=[0, 1], classes=np.array([NFC, NFD]))
    with pytest.raises(InputError, match="two classes have the same name"):
        opened(npz=str(path))
    with pytest.raises(InputError, match="appears 2 times"):
        opened(folder=folders(tmp_path / "e", "a", "b"), labels=listed(tmp_path / "l.csv", [(NFC, "a"), (NFD, "b")]))


def test_names_alike_but_for_case_stay_two(tmp_path):
    assert opened(folder=folders(tmp_path / "d", "Cat", "cat")).classes == ["Cat", "cat"]
    assert same_but_for_case(["Cat", "dog", "cat"]) == [("Cat", "cat")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0,a,x, y"], r"l\.csv:2: there are more cells than in the header"),
        (["0,a,crane", "1,b,crane", "2,c,crane (a)"], r'"crane \(a\)" would be the name of 2 classes'),
    ],
)
def test_class_lists_that_say_something_else_than_they_seem(tmp_path, rows, message):
    path = tmp_path / "l.csv"
    path.write_text("\n".join(["index,folder,name", *rows]))
    with pytest.raises(InputError, match=message):
        opened(folder=folders(tmp_path / "d", "a", "b"), labels=str(path))


def test_a_line_break_in_a_name_is_part_of_it(tmp_path):
    (tmp_path / "l.csv").write_text('index,folder,name\n0,a,"one\u2028two"\n1,b,"x, y"\n')
    source = opened(folder=folders(tmp_path / "d", "a", "b"), labels=str(tmp_path / "l.csv"))
    assert source.classes[1] == "x, y" and len(source.classes) == 2


def test_one_class_is_no_task(tmp_path):
    root, path = folders(tmp_path / "d", "a", "b"), tmp_path / "d.npz"
    np.savez(path, x_train=np.zeros((2, 4, 4), np.uint8), y_train=[1, 1], classes=np.array(["a", "b"]))
    labels = listed(tmp_path / "l.csv", [("a", "x"), ("b", "y")])
    for spec in ({"folder": root, "classes": ["a"]}, {"npz": str(path)}, {"folder": root, "classes": 1}):
        datasets = {"d": Dataset(**spec)}
        with pytest.raises(InputError, match=r"datasets\.d \(train\)  all training images are of one class"):
            refuse_one_class(open_split("d", datasets, "train"), "d", datasets)
    for spec in ({"folder": root}, {"npz": str(path), "labels": labels}, {"synthetic": {"task": "source"}}):
        datasets = {"d": Dataset(**spec)}
        refuse_one_class(open_split("d", datasets, "train"), "d", datasets)


def test_an_unknown_split_is_a_sentence(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x_train=np.zeros((2, 4, 4), np.uint8), y_train=[0, 1])
    for spec in ({"npz": str(path)}, {"folder": folders(tmp_path / "d", "a", "b")}):
        with pytest.raises(InputError, match=r'datasets\.d  "vall" is no split\n +did you mean "val"'):
            opened("vall", **spec)

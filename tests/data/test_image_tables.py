"""Tables and lists of images: the same images as of folders, whatever the order of rows; wrong rows by line."""

from __future__ import annotations

import csv
import os
import random
import re

import numpy as np
import pytest
from PIL import Image

from transferkit.data import wrong_rows
from transferkit.data.sources import open_split
from transferkit.errors import InputError
from transferkit.recipe.counting import class_counts, forget, group_counts, remarks, surveyed
from transferkit.recipe.schema import Dataset
from transferkit.training.loaders import _draws


def opened(split="train", classes=None, **spec):
    return open_split("d", {"d": Dataset(**spec)}, split, classes)


def rows_of(folder):
    """[path, label, split] of every image of a folder of splits."""
    found = []
    for path in sorted(folder.rglob("*.png")):
        split, label, _ = path.relative_to(folder).parts
        found.append([path.relative_to(folder).as_posix(), label, split])
    return found


def write(path, rows, header=("path", "label", "split"), delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return str(path)


def refusal(**spec):
    with pytest.raises(InputError) as caught:
        opened(**spec)
    return str(caught.value)


def test_a_table_is_the_folder_that_it_lists(class_folder):
    table = write(class_folder / "all.csv", rows_of(class_folder))
    for split in ("train", "val"):
        mine, folders = opened(split, table=table), opened(split, folder=str(class_folder))
        assert mine.classes == folders.classes
        assert mine.labels.tolist() == folders.labels.tolist()
        assert mine.ids == [f"{split}/{one}" for one in folders.ids]
        assert all(np.array_equal(mine.image(i), folders.image(i)) for i in range(len(mine)))
    assert opened("test", table=table) is None


@pytest.mark.parametrize("kind", ["csv", "semicolons.csv", "tsv", "parquet"])
def test_every_kind_of_file_in_any_order_is_one_data_set(class_folder, kind):
    rows = rows_of(class_folder)
    plain = write(class_folder / "sorted.csv", rows)
    random.Random(1).shuffle(rows)
    path = class_folder / f"mixed.{kind}"
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = dict(zip(("path", "label", "split"), zip(*rows, strict=True), strict=True))
        parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), path)
    else:
        write(path, rows, delimiter={"csv": ",", "semicolons.csv": ";", "tsv": "\t"}[kind])
    for split in ("train", "val"):
        assert opened(split, table=str(path)).fingerprint() == opened(split, table=plain).fingerprint()


def test_columns_by_option_and_root_elsewhere(class_folder, tmp_path):
    rows = [[split, 7, label, str(class_folder / path)] for path, label, split in rows_of(class_folder)]
    table = write(tmp_path / "notes.csv", rows, ("Fold", "path", "Diagnosis", "Where"))
    columns = {"path": "Where", "label": "Diagnosis", "split": "Fold"}
    source = opened(table=table, root=str(class_folder), columns=columns)
    assert source.ids == opened(table=write(class_folder / "all.csv", rows_of(class_folder))).ids
    assert "there is no column" in refusal(table=table, columns={"path": "where"})
    assert "no column is plainly the label" in refusal(table=table)
    assert "leads out of" in refusal(table=table, columns=columns, root=str(class_folder / "train"))


def test_names_of_splits(class_folder):
    names = {"train": "A", "val": "Dev"}
    table = write(class_folder / "a.csv", [[path, label, names[split]] for path, label, split in rows_of(class_folder)])
    assert 'there is no split "A"' in refusal(table=table)
    assert len(opened(table=table, splits={"train": "a"})) == 12
    assert len(opened("val", table=table, splits={"train": "a"})) == 6
    assert 'no row is of the split "B", which is to be test' in refusal(table=table, splits={"train": "A", "test": "B"})


def test_whole_numbers_are_classes_in_the_order_of_numbers(class_folder):
    rows = [[path, {"ant": 2, "bee": 10, "cat": 9}[label]] for path, label, _ in rows_of(class_folder)]
    assert opened(table=write(class_folder / "n.csv", rows, ("file", "target"))).classes == ["2", "9", "10"]


WRONG = {
    "line 3: there is no image train/ant/none.png": ["train/ant/none.png", "ant", "train"],
    "line 4: the label is empty": ["train/ant/0.png", " ", "train"],
    'line 5: there is no split "holdout"': ["train/ant/1.png", "ant", "holdout"],
    "line 6: it is the image of line 2 again": ["train/bee/../bee/3.png", "bee", "val"],
    "line 7: the path leads out of": ["../x.png", "ant", "train"],
    "line 8: it has 2 fields, and the header 3": ["train/ant/2.png", "ant"],
    "line 9: train/ant/2.txt is of no format that is read": ["train/ant/2.txt", "ant", "train"],
    "line 10: the path is empty": ["", "ant", "train"],
}


@pytest.mark.parametrize("wanted", WRONG)
def test_a_wrong_row_is_named_by_its_line(class_folder, wanted, monkeypatch):
    monkeypatch.setattr(wrong_rows, "SHOWN", 20)
    table = write(class_folder / "t.csv", [["train/bee/3.png", "bee", "train"], *WRONG.values()])
    assert wanted in refusal(table=table)


def test_many_wrong_rows_are_one_sentence(class_folder):
    table = write(class_folder / "t.csv", [["train/bee/3.png", "bee", "train"], *WRONG.values()])
    text = refusal(table=table)
    assert text.startswith(f"{table}: 8 rows are wrong; line 3: ")
    assert text.count("line ") == 5  # four are told, and one of them names another
    assert text.endswith("; and 4 more")


def test_bytes_that_are_no_text(class_folder):
    (class_folder / "t.csv").write_bytes(b"path,label\ntrain/ant/0.png,caf\xe9\n")
    assert "t.csv:2: there is a byte that is no UTF-8 (0xe9)" in refusal(table=str(class_folder / "t.csv"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is empty: a header with the names of columns is needed"),
        ("path,label\n", "there are no rows"),
        ("path,label,path\na,b,c\n", 'the header has the column "path" twice'),
        ('path,label\n"train/ant/0.png,ant\n', "t.csv:2: "),
    ],
)
def test_files_that_are_no_table(class_folder, text, wanted):
    (class_folder / "t.csv").write_text(text)
    assert wanted in refusal(table=str(class_folder / "t.csv"))
    (class_folder / "t.parquet").write_text(text)
    assert "cannot be read as parquet" in refusal(table=str(class_folder / "t.parquet"))


def test_without_pyarrow_parquet_is_refused_with_advice(class_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (class_folder / "t.parquet").write_bytes(b"PAR1")
    assert "install pyarrow: pip install" in refusal(table=str(class_folder / "t.parquet"))


def test_lists(class_folder):
    for split in ("train", "val"):
        rows = [
            f"{path}{' ' if split == 'train' else chr(9)}{label}\n"
            for path, label, own in rows_of(class_folder)
            if own == split
        ]
        (class_folder / f"{split}.txt").write_text("".join([*rows, "\n"]))
    lists = {split: str(class_folder / f"{split}.txt") for split in ("train", "val")}
    table = write(class_folder / "all.csv", rows_of(class_folder))
    for split in ("train", "val"):
        assert opened(split, lists=lists).fingerprint() == opened(split, table=table).fingerprint()
    (class_folder / "val.txt").write_text("train/ant/0.png ant\nval/ant/0.png\n")
    text = refusal(split="val", lists=lists)
    assert "val.txt:1: it is the image of train.txt:1 again" in text
    assert "val.txt:2: a path and a label are needed" in text


def test_a_path_with_blanks_in_a_list(class_folder):
    os.rename(class_folder / "train" / "ant" / "0.png", class_folder / "train" / "ant" / "big one.png")
    (class_folder / "l.txt").write_text("train/ant/big one.png ant\ntrain/bee/0.png bee\n")
    assert opened(lists={"train": str(class_folder / "l.txt")}).ids == ["train/ant/big one.png", "train/bee/0.png"]


def test_a_changed_table_is_another_data_set(class_folder):
    rows = rows_of(class_folder)
    table = write(class_folder / "t.csv", rows)
    before = opened(table=table).fingerprint()
    rows[0][1] = "bee"
    write(class_folder / "t.csv", rows)
    assert opened(table=table).fingerprint() != before
    heavy = write(
        class_folder / "w.csv", [[*row, i] for i, row in enumerate(rows)], ("path", "label", "split", "often")
    )
    weighted = opened(table=heavy, columns={"weight": "often"})
    assert weighted.fingerprint() != opened(table=heavy).fingerprint()


def test_what_is_counted_without_opening(class_folder):
    table = write(class_folder / "t.csv", rows_of(class_folder)[1:])
    datasets = {"d": Dataset(table=table), "two": Dataset(**{"from": "d"}, classes=["bee", "cat"])}
    forget()
    assert class_counts("d", datasets)["train"] == {"ant": 3, "bee": 4, "cat": 4}
    assert class_counts("two", datasets)["val"] == {"bee": 2, "cat": 2}
    assert "d: left out: 1 file in train/ant (image in no row 1)" in remarks("d", datasets)
    assert surveyed(datasets["d"]).files()["val"][0] == str(class_folder / "val/ant/0.png")


def test_images_that_are_not_there_may_be_left_out(class_folder):
    table = write(class_folder / "t.csv", [*rows_of(class_folder), ["train/ant/none.png", "ant", "train"]])
    assert "line 20: there is no image train/ant/none.png" in refusal(table=table)
    source = opened(table=table, on_bad_image="skip")
    assert len(source) == 12
    assert [bad.path for bad in source.bad_images] == [str(class_folder / "train/ant/none.png")]


def test_a_column_says_what_belongs_together(class_folder):
    rows = [[*row, f"p{i % 5}"] for i, row in enumerate(rows_of(class_folder))]
    table = write(class_folder / "t.csv", rows, ("path", "label", "split", "patient"))
    source = opened(table=table, group="patient")
    assert dict(zip(source.ids, source.groups, strict=True)) == {r[0]: r[3] for r in rows if r[2] == "train"}
    assert opened(table=table, group=r"/(\d)\.png").groups == [one[-5] for one in source.ids]
    of_cats = {"d": Dataset(table=table, group="patient", classes=["cat"])}
    assert open_split("d", of_cats, "train").groups == source.groups[8:]
    assert 'there is no column "patients" for group' in refusal(table=table, group="patients")
    rows[3][3] = ""
    write(class_folder / "t.csv", rows, ("path", "label", "split", "patient"))
    assert "line 5: the group is empty" in refusal(table=table, group="patient")


def test_a_pattern_says_it_for_folders(class_folder):
    folder = str(class_folder)
    assert opened(folder=folder, group=r"(\d)\.png").groups == ["0", "1", "2", "3"] * 3
    assert "is not found in 9 of 12 paths, such as ant/0.png" in refusal(folder=folder, group=r"(3)\.png")
    assert "exactly one is needed" in refusal(folder=folder, group="ant")
    assert "is no regular expression" in refusal(folder=folder, group="(ant")
    with pytest.raises(ValueError, match="group needs paths or a column"):
        Dataset(npz="x.npz", group="(x)")


def test_a_group_on_both_sides_is_told(class_folder):
    dataset = Dataset(folder=str(class_folder), group=r"(\d)\.png")
    forget()
    assert group_counts(dataset)["val"] == {n: {"ant": 1, "bee": 1, "cat": 1} for n in "01"}
    said = [line for line in remarks("d", {"d": dataset}) if "groups" in line]
    assert said == [
        "warning: d: 2 groups are in both val and train, with 6 of the 6 images of val, so results will flatter: 0, 1"
    ]


def test_weights_draw_images(class_folder):
    rows = [[*row, 0 if row[0].endswith("0.png") else 2.5] for row in rows_of(class_folder)]
    table = write(class_folder / "t.csv", rows, ("path", "label", "split", "often"))
    source = opened(table=table, columns={"weight": "often"})
    assert source.weights.tolist() == [0, 2.5, 2.5, 2.5] * 3

    class Some:
        weights, labels = source.weights, source.labels

    assert np.array_equal(_draws("none", Some), source.weights)
    assert np.allclose(_draws("sampling", Some), [0, 1 / 3, 1 / 3, 1 / 3] * 3)
    rows[2][3] = "-1"
    write(class_folder / "t.csv", rows, ("path", "label", "split", "often"))
    assert re.search(
        'line 4: the weight "-1" is no number from 0 up', refusal(table=table, columns={"weight": "often"})
    )


def test_names_in_another_form_of_unicode(class_folder):
    Image.new("RGB", (4, 4)).save(class_folder / "train" / "ant" / "cafe\u0301.png")
    table = write(
        class_folder / "t.csv", [["train/ant/caf\u00e9.png", "a", "train"], ["train/bee/0.png", "b", "train"]]
    )
    assert opened(table=table).image(0).size == (4, 4)


def test_a_local_folder_of_parquet_files_needs_no_network(class_folder, tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    import pyarrow
    from pyarrow import parquet

    def no_network(*args):
        raise OSError("there is no network")

    (tmp_path / "files").mkdir()
    for split, name in (("train", "train"), ("val", "validation")):
        rows = [row for row in rows_of(class_folder) if row[2] == split]
        columns = {
            "picture": [{"bytes": (class_folder / path).read_bytes(), "path": None} for path, _, _ in rows],
            "species": [label for _, label, _ in rows],
            "patient": [path[-5] for path, _, _ in rows],
        }
        parquet.write_table(pyarrow.table(columns), tmp_path / "files" / f"{name}.parquet")
    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    said = {
        "hf": str(tmp_path / "files"),
        "root": str(tmp_path / "cache"),
        "image_key": "picture",
        "label_key": "species",
    }
    source, folders = opened(**said, group="patient"), opened(folder=str(class_folder))
    assert (source.classes, source.labels.tolist()) == (folders.classes, folders.labels.tolist())
    assert source.groups == ["0", "1", "2", "3"] * 3
    assert np.array_equal(source.image(5), folders.image(5))
    assert 'has no column "patients" for group' in refusal(**said, group="patients")

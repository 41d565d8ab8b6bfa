"""Tar shards: samples by key, read where they lie, in an order of their own; what is damaged by shard and key."""

from __future__ import annotations

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from transferkit.data.images import BadImage
from transferkit.data.shards import expanded
from transferkit.data.sources import open_split
from transferkit.errors import InputError
from transferkit.recipe import load_recipe
from transferkit.recipe.counting import class_counts, forget, group_counts, remarks
from transferkit.recipe.schema import Dataset


def image(number, kind="png"):
    content = io.BytesIO()
    Image.new("RGB", (6, 5), (number, 2 * number, 7)).save(content, kind)
    return content.getvalue()


def shard(path, members):
    """A tar of {name: bytes}, as TarWriter writes it: plain files one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members if isinstance(members, list) else members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path):
    """Two shards of three samples each: classes 2, 10 and 9."""
    for number in range(2):
        members = {}
        for index, label in enumerate((2, 10, 9)):
            key = f"s{number}{index}"
            members |= {f"{key}.png": image(10 * number + index), f"{key}.cls": str(label).encode()}
        shard(tmp_path / "shards" / f"{number:03d}.tar", members)
    return tmp_path / "shards"


def opened(split="train", classes=None, **spec):
    return open_split("d", {"d": Dataset(**spec)}, split, classes)


def refusal(**spec):
    with pytest.raises(InputError) as caught:
        opened(**spec)
    return str(caught.value)


@pytest.mark.parametrize("form", ["pattern", "folder", "mapping"])
def test_samples_by_key(shards, form):
    pattern = f"{shards}/{{000..001}}.tar"
    source = opened(webdataset={"pattern": pattern, "folder": str(shards), "mapping": {"train": pattern}}[form])
    assert source.classes == ["2", "9", "10"]
    assert source.ids == ["000.tar/s00", "001.tar/s10", "000.tar/s02", "001.tar/s12", "000.tar/s01", "001.tar/s11"]
    assert source.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [source.image(index).getpixel((0, 0))[0] for index in range(6)] == [0, 10, 2, 12, 1, 11]
    copy = pickle.loads(pickle.dumps(source))  # as workers get it
    assert np.array_equal(copy.image(3), source.image(3))
    assert opened("val", webdataset=str(shards)) is None


def test_the_order_within_a_shard_changes_nothing_and_bytes_do(shards, tmp_path):
    before = opened(webdataset=str(shards)).fingerprint()
    with tarfile.open(shards / "000.tar") as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    shard(tmp_path / "shards" / "000.tar", members[::-1])
    assert opened(webdataset=str(shards)).fingerprint() == before
    shard(tmp_path / "shards" / "000.tar", [*members[:-2], ("s02.png", image(2) + b"x"), members[-1]])
    assert opened(webdataset=str(shards)).fingerprint() != before


def test_names_in_json_folders_in_keys_and_splits_in_folders(tmp_path):
    for split in ("train", "val"):
        members = {}
        for index, label in enumerate(("owl", "ant")):
            members |= {
                f"a/b{index}.seg.png": b"", f"a/b{index}.jpg": image(index, "jpeg"), "./README": b"",
                f"a/b{index}.json": json.dumps({"species": label, "label": 7}).encode(),
            }  # fmt: skip
        shard(tmp_path / split / "0.tar", members)
    source = opened("val", webdataset=str(tmp_path), label_key="species")
    assert (source.classes, source.ids) == (["ant", "owl"], ["val/0.tar/a/b1", "val/0.tar/a/b0"])
    assert opened(webdataset=str(tmp_path)).classes == ["7"]
    only = f"{tmp_path}/train/{{0,}}.tar"
    assert f"there is no shard {tmp_path}/train/.tar" in refusal(webdataset=only)
    assert "there is no webp, only jpg, json, seg.png" in refusal(webdataset=str(tmp_path), image_key="webp")


def test_braces():
    assert expanded("a-{008..011}.tar") == [f"a-{n:03d}.tar" for n in (8, 9, 10, 11)]
    assert expanded("{8..10}-{a,b}") == ["8-a", "8-b", "9-a", "9-b", "10-a", "10-b"]
    assert expanded("plain.tar") == ["plain.tar"]
    with pytest.raises(InputError, match="stands for more than"):
        expanded("{0..99999999}.tar")


def test_what_is_missing_is_named_by_shard_and_key(shards):
    shard(
        shards / "000.tar",
        [
            ("ok.png", image(1)), ("ok.cls", b"2"), ("one.png", image(1)), ("two.cls", b"1"), ("three.png", image(3)),
            ("three.json", b'{"name": 3}'), ("four.png", image(3)), ("four.cls", b" "), ("five.png", image(1)),
            ("five.jpg", image(1)), ("five.cls", b"2"),
        ],
    )  # fmt: skip
    text = refusal(webdataset=str(shards))
    assert text.startswith(f"{shards}: 5 samples are wrong; 000.tar/one: there is no label: neither .cls nor .json; ")
    assert "000.tar/two: there is no image, only cls" in text
    assert '000.tar/three: its .json has no "label"' in text
    assert "000.tar/four: the label is empty; and 1 more" in text
    kept = opened(webdataset=str(shards), on_bad_image="skip")
    assert len(kept) == 4
    forget()
    dataset = Dataset(webdataset=str(shards), on_bad_image="skip")
    assert "d: left out: 5 files in 000.tar (sample without image or label 5)" in remarks("d", {"d": dataset})


def test_a_member_twice_a_shard_cut_short_and_a_damaged_image(shards):
    data = (shards / "001.tar").read_bytes()
    (shards / "001.tar").write_bytes(data[:2048])
    assert f"the shard {shards / '001.tar'} cannot be read as a .tar (it is cut short" in refusal(
        webdataset=str(shards)
    )
    shard(shards / "001.tar", [("a.png", image(1)), ("a.cls", b"9"), ("a.png", image(2))])
    assert "001.tar/a: it has .png twice" in refusal(webdataset=str(shards))
    shard(shards / "001.tar", [("a.png", image(1)[:40]), ("a.cls", b"9")])
    with pytest.raises(BadImage, match=r"001\.tar/a"):
        opened(webdataset=str(shards)).image(2)
    (shards / "001.tar").write_bytes(b"\x1f\x8b" + data)
    assert "is packed with gzip" in refusal(webdataset=str(shards))


def test_plans_and_groups(shards):
    pattern = f"{shards}/{{000..001}}.tar"
    dataset = Dataset(webdataset=pattern, group=r"^(\d+)\.tar")
    forget()
    assert class_counts("d", {"d": dataset}) == {"train": {"2": 2, "9": 2, "10": 2}}
    assert group_counts(dataset)["train"] == {one: {"2": 1, "9": 1, "10": 1} for one in ("000", "001")}
    recipe = {
        "name": "r",
        "model": {"name": "resnet10t"},
        "datasets": {"d": {"webdataset": f"{shards}/{{000..002}}.tar"}},
        "stages": [{"name": "s", "dataset": "d", "epochs": 1}],
    }
    with pytest.raises(InputError, match=r"datasets\.d\.webdataset.*there is no shard .*/002\.tar"):
        load_recipe(recipe)

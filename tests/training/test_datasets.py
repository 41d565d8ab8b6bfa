from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten small pictures, no val split, one file that is no picture."""
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(10):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(
                tmp_path / "data" / name / f"{index}.png"
            )
    (tmp_path / "data" / "left" / "bad.png").write_bytes(b"not a picture")
    return tmp_path / "data"


def test_a_bad_image_is_left_out_by_name(run, folder) -> None:
    result = run(top={"datasets": {"tiny": {"folder": str(folder), "on_bad_image": "skip"}}}, epochs=1)
    rows = list(csv.reader((result.run_dir / "stages/target/bad_images.csv").open()))
    assert rows[0] == ["path", "class", "reason"]
    assert len(rows) == 2
    assert rows[1][0].endswith("bad.png")
    assert result.stages["target"]["images"] == {"train": 18, "val": 2}


def test_a_bad_image_ends_the_run_by_name_and_leaves_nothing(run, folder, tmp_path) -> None:
    with pytest.raises(InputError, match=r"bad\.png.*on_bad_image: skip"):
        run(top={"datasets": {"tiny": {"folder": str(folder)}}}, epochs=1)
    assert not list((tmp_path / "runs").rglob("*"))


def test_validation_is_carved_once_and_the_fraction_is_taken_from_the_rest(run, folder) -> None:
    (folder / "left" / "bad.png").unlink()
    data = {"datasets": {"tiny": {"folder": str(folder)}}}
    assert run(top=data, epochs=1, validation=0.3).stages["target"]["images"] == {"train": 14, "val": 6}
    assert run(top=data, epochs=1, validation=0.3, fraction=0.5).stages["target"]["images"] == {"train": 8, "val": 6}
    assert run(top=data, epochs=1, validation=0).stages["target"]["best"]["split"] == "train"


def test_test_is_looked_at_once_at_the_end(run, tmp_path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("test", 6)):
        arrays[f"x_{split}"] = rng.integers(0, 255, (count, 32, 32, 3)).astype(np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 2
    np.savez(tmp_path / "t.npz", **arrays, classes=np.array(["a", "b"]))
    result = run(top={"datasets": {"tiny": {"npz": str(tmp_path / "t.npz")}}}, epochs=1, validation=0.5)
    entry = result.stages["target"]
    assert entry["images"] == {"train": 6, "val": 6}
    assert entry["evaluations"]["test"]["images"] == 6
    assert '"split": "test"' not in (result.run_dir / "metrics.jsonl").read_text()
    assert entry["best"]["split"] == "val"

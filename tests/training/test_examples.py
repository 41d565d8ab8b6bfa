"""Pictures of mistakes and of near misses: which images are chosen, and what is written of them."""

from __future__ import annotations

import csv

import numpy as np
import torch
from PIL import Image

from transferkit.training import examples
from transferkit.training.evaluation import Evaluation
from transferkit.training.examples import chosen, small, write_examples


class Grey:
    """Images of one grey each, 120 x 60 pixels."""

    ids = tuple(f"photo-{number}.jpg" for number in range(8))

    def picture(self, index):
        return Image.new("RGB", (120, 60), (10 * index, 10 * index, 10 * index))


TRUE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
PREDICTED = torch.tensor([1, 1, 0, 0, 1, 1, 0, 1])
PROBABILITY = torch.tensor([0.6, 0.9, 0.55, 0.8, 0.7, 0.51, 0.75, 0.99])


def test_the_surest_mistakes_and_the_least_sure_hits_come_first():
    assert chosen(TRUE, PREDICTED, PROBABILITY) == {"mistake": [1, 6, 0], "hit": [5, 2, 4, 3, 7]}


def test_no_class_has_a_second_picture_before_each_has_one(monkeypatch):
    monkeypatch.setattr(examples, "MOST", {"mistake": 2, "hit": 3})
    assert chosen(TRUE, PREDICTED, PROBABILITY) == {"mistake": [1, 6], "hit": [5, 2, 4]}


def test_the_table_names_images_by_their_place_in_the_data_set(tmp_path):
    indices = torch.tensor([7, 6, 5, 4, 3, 2, 1, 0])  # the loader read them backwards
    found = Evaluation(TRUE, PREDICTED, 2, 0.0, 1.0, {}, indices, PROBABILITY)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "mistake-09.jpg").write_bytes(b"of an evaluation before")
    write_examples(tmp_path, Grey(), found, ["=ant", "bee"])
    rows = list(csv.DictReader((tmp_path / "examples.csv").open(encoding="utf-8")))
    assert [row["kind"] for row in rows] == ["mistake"] * 3 + ["hit"] * 5
    first = rows[0]
    assert (first["true"], first["predicted"], first["probability"]) == ("'=ant", "bee", "0.9")
    assert first["id"] == "photo-6.jpg" and first["true_label"] == "0"
    written = Image.open(tmp_path / first["picture"])
    assert written.size == (96, 48)
    assert abs(int(np.asarray(written).mean()) - 60) <= 1  # photo 6
    assert len(list((tmp_path / "examples").iterdir())) == 8


def test_small_pictures_grow_in_whole_steps():
    assert small(Image.new("RGB", (40, 20)), width=96).size == (80, 40)
    assert small(Image.new("RGB", (96, 20)), width=96).size == (96, 20)
    assert small(Image.new("RGB", (500, 300)), width=96).size == (96, 58)
    assert small(Image.new("RGB", (40, 20)), height=96).size == (160, 80)
    assert small(Image.new("RGB", (500, 300)), height=30).size == (50, 30)

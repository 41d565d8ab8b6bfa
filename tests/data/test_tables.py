from __future__ import annotations

import numpy as np
import pytest
import torch

from transferkit.data import tables
from transferkit.data.batches import EvalLoader, TrainLoader
from transferkit.data.contents import Source
from transferkit.data.sources import open_split
from transferkit.data.tables import TableSamples, TableSource
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset, Synthetic


def dataset(**options) -> Dataset:
    return Dataset.model_validate({"synthetic": {"task": "target", "train": 300, "val": 100} | options})


def table(split: str = "train", **options) -> TableSource:
    found = open_split("t", {"t": dataset(**options)}, split)
    assert isinstance(found, TableSource)
    return found


def test_the_columns_of_the_paper() -> None:
    assert tables.columns_of("source", 50) == range(30)
    assert tables.columns_of("target", 50) == range(20, 50)


def test_outputs_by_hand() -> None:
    raw = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert tables.output("source", raw)[0] == pytest.approx(sum(np.sin(x) + x for x in (0, 1, 2)))
    assert tables.output("target", raw)[0] == pytest.approx(sum(np.cos(x) - x for x in (2, 3, 4)))


def test_variance_is_drawn_and_not_the_standard_deviation() -> None:
    mean, sd = tables.column_scale(Synthetic(task="source", features=1000))
    assert mean.min() >= -10 and mean.max() <= 10 and abs(mean.mean()) < 1
    assert (sd**2).max() <= 10
    assert (sd**2).mean() == pytest.approx(5, abs=0.4)


def test_both_tasks_share_the_columns_and_draw_rows_of_their_own() -> None:
    source, target = (tables.column_scale(Synthetic(task=task)) for task in ("source", "target"))
    assert all(np.array_equal(a, b) for a, b in zip(source, target, strict=True))
    assert not np.array_equal(table(task="source").rows, table(task="target").rows)


def test_inputs_and_outputs_are_standardised() -> None:
    train, val = table(train=8000), table("val", train=8000)
    assert np.abs(train.rows.mean(axis=0)).max() < 0.06 and np.abs(train.rows.std(axis=0) - 1).max() < 0.05
    assert train.labels.mean() == pytest.approx(0, abs=1e-6) and train.labels.std() == pytest.approx(1, abs=1e-6)
    assert val.labels.std() == pytest.approx(1, abs=0.2), "by the training split's mean and s.d."
    mean, sd = tables.column_scale(Synthetic(task="target"))
    raw = tables.output("target", mean + sd * val.rows.astype(np.float64))
    slope, _ = np.polyfit(raw, val.labels, 1)
    assert np.corrcoef(raw, val.labels)[0, 1] == pytest.approx(1)
    assert np.allclose(val.labels, slope * (raw - raw.mean()) + val.labels.mean(), atol=1e-5)


def test_permuted_columns_hold_the_same_numbers_of_other_rows() -> None:
    plain, permuted = table(), table(permuted=20)
    assert np.array_equal(plain.labels, permuted.labels) and plain.ids == permuted.ids
    assert np.array_equal(plain.rows[:, 20:], permuted.rows[:, 20:])
    assert np.array_equal(np.sort(plain.rows[:, :20], axis=0), np.sort(permuted.rows[:, :20], axis=0))
    orders = [np.argsort(permuted.rows[:, j])[np.argsort(np.argsort(plain.rows[:, j]))] for j in range(2)]
    assert not np.array_equal(orders[0], orders[1]), "each column in an order of its own"


def test_a_function_of_the_options_alone() -> None:
    assert np.array_equal(table().rows, table().rows)
    assert np.array_equal(table(train=100).rows, table(train=300).rows[:100]), "fewer rows are the first ones"
    assert table().fingerprint() == table().fingerprint()
    others = [table(seed=1), table(permuted=3), table("val"), table(task="source"), table(train=299)]
    assert len({one.fingerprint() for one in others} | {table().fingerprint()}) == 6


def test_there_is_no_test_split() -> None:
    assert open_split("t", {"t": dataset()}, "test") is None


def test_samples_have_the_interface_of_images() -> None:
    source = table()
    samples = TableSamples("t", "train", source, indices=np.array([5, 2, 7]))
    rows, outputs = samples.batch(np.array([2, 0]), np.array([0, 3]))
    assert rows.shape == (2, 1, 1, 50) and rows.dtype == outputs.dtype == torch.float32
    assert np.array_equal(rows[0, 0, 0].numpy(), source.rows[7]) and outputs[1] == source.labels[5]
    row, label, index = samples.get(1, 4)
    assert torch.equal(row[0, 0], torch.from_numpy(source.rows[2])) and label == float(source.labels[2]) and index == 1
    assert len(samples) == 3 and samples.classes == ["y"] and samples.planted == {}
    assert samples.ids == ["target/train/000005", "target/train/000002", "target/train/000007"]
    batches = list(samples.evaluation_batches(2))
    assert [len(part) for _, part in batches] == [2, 1]
    assert samples.subset(np.array([1])).ids == ["target/train/000002"]
    assert samples.fingerprint() != TableSamples("t", "train", source).fingerprint()
    with pytest.raises(InputError, match="only works on images"):
        samples.picture(0)
    with pytest.raises(InputError, match="only works on images"):
        source.image(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_read_tables(workers: int) -> None:
    samples = TableSamples("t", "train", table(train=10, features=5))
    loader = TrainLoader({"target": samples}, batch_size=4, seed=0, workers=workers)
    batches = list(loader.epoch(0))
    loader.close()
    found = torch.cat([batch.indices["target"] for batch in batches])
    assert sorted(found.tolist()) == list(range(10))
    values = torch.cat([batch.labels["target"] for batch in batches])
    assert torch.equal(values, torch.from_numpy(samples.labels)[found])
    evaluation = EvalLoader(samples, batch_size=4)
    assert torch.equal(torch.cat([batch.labels["target"] for batch in evaluation]), torch.from_numpy(samples.labels))


def test_shares_are_taken_of_all_rows() -> None:
    assert tables.strata(table(train=7)).tolist() == [0] * 7


def test_a_table_and_images_do_not_mix() -> None:
    rows = table(train=5)
    images = Source(["a"], np.zeros(2, np.int64), ["0", "1"], rows.contents, np.arange(2))
    tables.refuse_other_kind(rows, "t", rows, "u")
    with pytest.raises(InputError, match='"t" is a table and "pets" holds images'):
        tables.refuse_other_kind(images, "pets", rows, "t")

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from transferkit.errors import InputError
from transferkit.training.metrics import MetricsLog, Totals
from transferkit.training.objective import Losses

ALONE = SimpleNamespace(num_processes=1, process_index=0, is_main_process=True, trackers=[], log=lambda *a, **k: None)


def step(task: float, bss: float) -> Losses:
    return Losses(
        torch.tensor(task + 0.1 * bss),
        torch.tensor(task),
        {("bss", ""): torch.tensor(bss)},
        {("bss", ""): torch.tensor(0.1 * bss)},
    )


def test_means_are_weighted_by_images() -> None:
    totals = Totals()
    totals.add([step(1.0, 2.0)], 8)
    totals.add([step(4.0, 5.0)], 4)
    totals.settle()
    assert totals.running() == {"loss": pytest.approx(2.0), "bss": pytest.approx(0.3)}
    record = totals.record([], 0.0, ALONE)
    assert record["loss"] == pytest.approx(2.0)
    assert record["terms"] == {"bss": {"raw": pytest.approx(3.0), "weighted": pytest.approx(0.3)}}
    assert record["images"] == 12


def test_micro_batches_of_a_step_add_up() -> None:
    totals = Totals()
    totals.add([step(0.25, 1.0), step(0.5, 1.0)], 8)
    totals.settle()
    assert totals.running()["loss"] == pytest.approx(0.75)
    assert totals.recent == [0.75]


def test_accuracy_counts_hard_and_soft_labels() -> None:
    totals = Totals()
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    totals.count(logits, torch.tensor([0, 0]))
    totals.count(logits, torch.tensor([[0.6, 0.4], [0.1, 0.9]]))
    totals.add([step(1.0, 1.0)], 4)
    totals.settle()
    assert totals.record([], 0.0, ALONE)["top1"] == pytest.approx(3 / 4)


def test_state_survives_in_the_middle_of_an_epoch() -> None:
    whole, first = Totals(), Totals()
    for totals in (whole, first):
        totals.add([step(1.0, 2.0)], 8)
    second = Totals.from_state(first.state(ALONE), ALONE)
    for totals in (whole, second):
        totals.add([step(4.0, 5.0)], 4)
        totals.settle()
    assert whole.running() == second.running()
    assert whole.images == second.images


def test_terms_of_one_plugin_are_summed_and_kept_apart() -> None:
    totals = Totals()
    one = torch.tensor(1.0)
    raw = {("p", "a"): one, ("p", "b"): 2 * one}
    totals.add([Losses(one, one, raw, {key: value / 2 for key, value in raw.items()})], 1)
    totals.settle()
    terms = totals.record([], 0.0, ALONE)["terms"]["p"]
    assert terms == {
        "raw": 3.0,
        "weighted": 1.5,
        "terms": {"a": {"raw": 1.0, "weighted": 0.5}, "b": {"raw": 2.0, "weighted": 1.0}},
    }


def test_what_will_be_made_again_is_forgotten(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    kept = '{"stage": "a", "step": 4}\n{"stage": "b", "step": 2}\n'
    path.write_text(kept + '{"stage": "b", "step": 4}\n{"stage": "b", "st')
    MetricsLog(path, ALONE).rewind("b", 2)
    assert path.read_text() == kept


def test_what_a_checkpoint_knows_stays_and_what_is_damaged_after_it_is_made_again(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    known = '{"stage": "b", "step": 4}\n'  # of an epoch before the stage was extended, say
    other = '{"stage": "c", "step": 9}\n'
    path.write_text(known + '{"stage":\0"b", "step": 6}\n' + other + "{}\n")
    MetricsLog(path, ALONE).rewind("b", 2, {"metrics.jsonl": {"bytes": len(known)}})
    assert path.read_text() == known + other


def test_a_damaged_line_that_nobody_vouches_for_is_refused(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    text = '{"stage": "a", "step": 4}\n{"stage":\0"a", "step": 6}\n'
    path.write_text(text)
    with pytest.raises(InputError, match="has a damaged line"):
        MetricsLog(path, ALONE).rewind("b", -1)
    assert path.read_text() == text

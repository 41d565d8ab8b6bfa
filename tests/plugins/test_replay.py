"""Replay: which images are kept, under which head, how many of a batch, and exact resume."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transferkit_replay import chosen
from transferkit_replay.curriculum import Replay

from tests.plugins.two_stage_runs import records, resumes_exactly
from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin

LABELS = np.array([0, 1, 0, 2, 0, 1, 0, 2, 0])


def test_so_many_of_each_class():
    found = chosen(LABELS, ["a", "b", "c"], 2, seed=0)
    assert found.tolist() == sorted(set(found.tolist()))
    assert np.bincount(LABELS[found]).tolist() == [2, 2, 2]
    assert chosen(LABELS, ["a", "b", "c"], 99, seed=0).tolist() == list(range(9))
    assert chosen(LABELS, ["a", "b", "c", "none"], 1, seed=0).size == 3


def test_the_choice_is_a_function_of_seed_and_class_name():
    few, more = (set(chosen(LABELS, ["a", "b", "c"], n, seed=0).tolist()) for n in (2, 3))
    assert few < more
    assert chosen(LABELS, ["a", "b", "c"], 2, seed=0).tolist() == chosen(LABELS, ["a", "b", "c"], 2, seed=0).tolist()
    others = {tuple(chosen(LABELS, ["a", "b", "c"], 2, seed=seed).tolist()) for seed in range(20)}
    assert len(others) > 5
    alone = LABELS[LABELS == 0]
    of_a = np.flatnonzero(LABELS == 0)
    kept = set(chosen(LABELS, ["a", "b", "c"], 2, seed=3).tolist())
    assert set(of_a[chosen(alone, ["a"], 2, seed=3)].tolist()) == kept & set(of_a.tolist())


class Images:
    def __init__(self, classes, labels):
        self.classes, self.labels, self.kept = classes, np.array(labels), None

    def subset(self, indices):
        found = Images(self.classes, self.labels[indices])
        found.kept = indices.tolist()
        return found


def session(old, target, source=None):
    def open_samples(name, split, classes=None):
        assert (name, split) == ("old", "train")
        listed = old if classes is None else classes
        return Images(listed, [listed.index(name) for name in old for _ in range(3)])

    head = SourceHead(torch.eye(len(source), 4), None, source) if source else None
    stage = SimpleNamespace(dataset="new")
    return SimpleNamespace(open_samples=open_samples, classes=target, source_head=head, stage=stage, seed=0)


def test_known_classes_train_the_targets_head_under_its_numbers():
    (stream,) = Replay("old", images=1).streams(session(["b", "c"], ["a", "b", "c"])).values()
    assert stream.head == "target" and stream.classes == ["a", "b", "c"]
    assert stream.samples.labels.tolist() == [1, 2]


def test_unknown_ones_have_a_head_of_their_own_that_starts_as_the_sources():
    (stream,) = Replay("old").streams(session(["b", "c"], ["x"], source=["c", "a", "b"])).values()
    assert stream.head == "own" and stream.classes == ["b", "c"]
    assert stream.initial.weight.tolist() == torch.eye(3, 4)[[2, 0]].tolist()
    (stream,) = Replay("old").streams(session(["b", "c"], ["x"], source=["p"])).values()
    assert stream.initial is None


def test_a_class_that_the_target_does_not_list():
    with pytest.raises(InputError, match=r'"old" has the class "c", which "new" does not list; .*known: old'):
        Replay("old").streams(session(["b", "c"], ["a", "b"]))


def test_options_and_checks():
    for options in ({"share": 0}, {"share": 1}, {"images": 0}):
        with pytest.raises(ValidationError):
            installed().get("curriculum", "replay").create({"dataset": "old"} | options)
    (said,) = Replay("new").check(SimpleNamespace(dataset="new"))
    assert "own data set" in said
    assert Replay("old", share=0.4).mix() == {"replay": 0.4}


def test_the_promises_of_a_plugin():
    check_plugin(Replay, dataset="tiny")


def test_a_run_resumes_exactly_and_counts_a_quarter(tmp_path, monkeypatch):
    """Batches of 16 with 4 old images each: four steps an epoch, so 16 old ones and 48 new ones."""
    use = {"use": "replay", "dataset": "digits", "images": 2}
    done = resumes_exactly(tmp_path, monkeypatch, curriculum=use, head_init="source")
    assert [line["images"] for line in records(done.whole.run_dir)] == [64, 64]
    assert "replay" in (done.whole.run_dir / "run.log").read_text()

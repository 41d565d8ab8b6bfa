"""Keys are stable and distinct; seeding leaves no trace in the global generators."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from transferkit.data.randomness import key, numpy_rng, seeded


def global_numbers():
    return torch.rand(1).item(), random.random(), np.random.rand()


def test_a_key_is_the_same_in_every_process():
    # blake2b of "i1:0s5:traini1:3", first eight bytes, without the last bit
    assert key(0, "train", 3) == 8858445100465688071
    assert key(7, "order") < 2**63
    assert key(np.int64(7), "order") == key(7, "order")


@pytest.mark.parametrize("other", [("1", 2), (1, "2"), (12,), ("12",), (2, 1), (1, 2, 0), (1, -2)], ids=str)
def test_keys_tell_types_order_and_boundaries_apart(other):
    assert key(1, 2) != key(*other)


def test_split_strings_differ():
    assert key("ab", "c") != key("a", "bc") != key("abc")


def test_keys_are_spread_evenly():
    keys = np.array([key(seed, "x") for seed in range(4000)], dtype=np.uint64)
    buckets = np.bincount((keys >> np.uint64(60)).astype(int), minlength=8)
    assert len(set(keys.tolist())) == 4000
    assert buckets.min() > 400


def test_seeded_repeats_and_restores():
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = global_numbers(), global_numbers()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    first = global_numbers()
    with seeded(3, "a"):
        inside = global_numbers()
    assert (first, global_numbers()) == expected
    with seeded(3, "a"):
        assert global_numbers() == inside
    with seeded(3, "b"):
        assert global_numbers() != inside


def test_seeded_restores_after_an_error():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with pytest.raises(KeyError), seeded(1):
        random.random()
        raise KeyError
    assert random.random() == expected


def test_numpy_rng_depends_on_its_key_alone():
    assert numpy_rng(1, "a").integers(1 << 60) == numpy_rng(1, "a").integers(1 << 60)
    assert numpy_rng(1, "a").integers(1 << 60) != numpy_rng(1, "b").integers(1 << 60)

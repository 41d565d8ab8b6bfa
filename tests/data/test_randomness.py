"""Keys are stable and distinct; seeding leaves no trace in the global generators."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import torch

from transferkit.data.randomness import borrowed_rng, key, numpy_rng, seeded


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


def test_a_borrowed_generator_depends_on_its_key_alone():
    def draws(*parts):
        rng = borrowed_rng(*parts)
        return [int(rng.integers(1 << 30)) for _ in range(3)] + rng.normal(size=3).tolist()

    first = draws(1, "a", 5)
    borrowed_rng(2).integers(7)  # leaves half of a 64-bit number behind
    assert draws(1, "a", 5) == first
    others = [draws(1, "a", 6), draws(1, "a", "5"), draws(2, "a", 5), draws(1, "b", 5), draws("a", 1, 5)]
    assert all(other != first for other in others)


def test_borrowed_generators_are_uniform_over_neighbouring_keys():
    values = np.array([borrowed_rng(0, "x", index).random() for index in range(4000)])
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.06


def test_borrowing_in_one_thread_does_not_disturb_another():
    rng = borrowed_rng(0, "main")
    thread = threading.Thread(target=lambda: borrowed_rng(1, "other").random(100))
    thread.start(), thread.join()
    assert rng.random() == borrowed_rng(0, "main").random()

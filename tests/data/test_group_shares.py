"""Whole groups only, every class near its share, and no order of files in it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from transferkit.data.group_shares import fold_of_groups, groups_held_out, groups_kept, members_of, per_class
from transferkit.data.shares import fold_sizes, held_out, rounded_share


def drawn(seed, groups=40, classes=4, mixed=True):
    """Groups of 1 to 12 images, of one class or of several."""
    rng = random.Random(seed)
    pairs = []
    for group in range(groups):
        label = rng.randrange(classes)
        for _ in range(rng.randint(1, 12)):
            pairs.append((f"g{group}", f"c{rng.randrange(classes) if mixed and rng.random() < 0.3 else label}"))
    return pairs


def counted(members, chosen):
    return per_class({group: members[group] for group in chosen})


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_is_near_the_share_of_every_class(seed, mixed):
    members = members_of(drawn(seed, groups=80, mixed=mixed))
    total, held = per_class(members), counted(members, groups_held_out(members, 0.2, seed))
    for label, count in total.items():
        assert 0 < held[label] < count
        assert abs(held[label] - held_out(0.2, count)) <= 4


def test_groups_of_one_image_are_held_out_as_images_are():
    members = {f"i{index}": {"a" if index < 31 else "b": 1} for index in range(50)}
    held = groups_held_out(members, 0.3, 7)
    assert counted(members, held) == {"a": held_out(0.3, 31), "b": held_out(0.3, 19)}
    assert groups_held_out(members, 0.3, 8) != held
    assert not groups_held_out(members, 0, 7)
    for fraction in (0.01, 0.1, 0.29, 0.5, 1):
        kept = counted(members, groups_kept(members, fraction, 7))
        assert (kept["a"], kept["b"]) == (rounded_share(fraction, 31), rounded_share(fraction, 19))


def test_a_class_of_one_group_stays_in_train():
    members = {"p": {"a": 5}, "q": {"b": 4}, "r": {"b": 4}}
    assert groups_held_out(members, 0.1, 0) in ({"q"}, {"r"})
    assert groups_held_out({"p": {"a": 5}, "q": {"b": 4}}, 0.5, 0) == set()
    both = {"p": {"a": 1, "b": 9}, "q": {"b": 4}, "r": {"b": 4}}  # all of a is in p
    assert all("p" not in groups_held_out(both, share, seed) for share in (0.1, 0.5, 0.9) for seed in range(20))


@pytest.mark.parametrize(
    "choose",
    [lambda m: groups_held_out(m, 0.2, 3), lambda m: groups_kept(m, 0.4, 3), lambda m: fold_of_groups(m, 5, 3)],
)
def test_no_order_of_images_matters(choose):
    pairs = drawn(1)
    first = choose(members_of(pairs))
    for seed in range(5):
        random.Random(seed).shuffle(pairs)
        assert choose(members_of(pairs)) == first


def test_smaller_fractions_lie_in_larger_ones():
    members = members_of(drawn(4))
    kept = [groups_kept(members, fraction, 2) for fraction in (0.05, 0.1, 0.3, 0.31, 0.7, 1)]
    assert all(small <= large for small, large in pairwise(kept))
    assert kept[-1] == set(members)


@pytest.mark.parametrize("seed", range(5))
def test_folds_share_every_class_as_well_as_scikit_learn_does(seed):
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    pairs = drawn(seed, groups=60)
    members = members_of(pairs)
    folds = fold_of_groups(members, 5, seed)
    assert set(folds) == set(members)
    groups, labels = (np.array(one) for one in zip(*pairs, strict=True))
    theirs = np.zeros(len(pairs), int)
    for number, (_, chosen) in enumerate(
        StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
    ):
        theirs[chosen] = number

    def uneven(fold):
        return max(
            np.std(np.bincount(fold[labels == one], minlength=5)) / (labels == one).sum() for one in np.unique(labels)
        )

    assert uneven(np.array([folds[group] for group in groups])) <= uneven(theirs) + 0.03


def test_sizes_of_folds():
    sizes = fold_sizes({"a": 11, "c": 9, "b": 3}, 5)
    assert sizes == {"a": [3, 2, 2, 2, 2], "b": [0, 1, 1, 1, 0], "c": [2, 2, 2, 1, 2]}
    assert [sum(one) for one in zip(*sizes.values(), strict=True)] == [5, 5, 5, 4, 4]

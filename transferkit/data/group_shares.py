"""Which groups a share, a fraction or a fold is made of: whole ones, each class as near to its share as they allow.

One rule for the plan, before torch or NumPy, and for the run. `Members` are {group: {class: images}}. The order in
which groups are looked at follows from (seed, what for, the group's name): no order of files or rows has a part in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from transferkit.data.shares import held_out

Members = Mapping[str, Mapping[str, int]]
ROUNDS = 20
TOO_LITTLE = 1e-9  # what is gained by rounding alone


def members_of(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """{group: {class: images}} of (group, class) of every image."""
    found: dict[str, dict[str, int]] = {}
    for (group, label), count in Counter(pairs).items():
        found.setdefault(group, {})[label] = count
    return found


def per_class(members: Members) -> Counter[str]:
    """{class: images}."""
    total: Counter[str] = Counter()
    for classes in members.values():
        total.update(classes)
    return total


def groups_held_out(members: Members, share: float, seed: int) -> set[str]:
    """Groups for validation, with about `held_out` images of every class.

    A group is taken, or put back, where that brings the classes nearer to their shares: Σ ((taken - wanted) / wanted)²
    over the classes becomes smaller. A class of several groups has at least one on either side where that can be; one
    of a single group stays in train, whole.
    """
    total = per_class(members)
    wanted = {label: held_out(share, count) for label, count in total.items()}
    taken, chosen = Counter[str](), set[str]()

    def change(group: str) -> float | None:
        """By how much the sum grows with the group on the other side; None where a class would be on one side alone."""
        sign, grown = -1 if group in chosen else 1, 0.0
        for label, count in sorted(members[group].items()):
            if taken[label] + sign * count in (0, total[label]):
                return None
            off = taken[label] - wanted[label]
            grown += ((off + sign * count) ** 2 - off**2) / max(wanted[label], 1) ** 2
        return grown

    def move(group: str) -> None:
        (taken.subtract if group in chosen else taken.update)(members[group])
        chosen.symmetric_difference_update([group])

    order = _ordered(members, seed, "validation") if share > 0 else []
    for _ in range(ROUNDS):
        nearer = 0
        for group in order:
            grown = change(group)
            if grown is not None and grown < -TOO_LITTLE:
                move(group)
                nearer += 1
        if not nearer:
            break
    for label in sorted(total):
        if not taken[label]:  # every group of it is larger than its share
            costs = {group: cost for group in order if label in members[group] if (cost := change(group)) is not None}
            if costs:
                move(min(costs, key=lambda group: costs[group]))
    return chosen


def groups_kept(members: Members, fraction: float, seed: int) -> set[str]:
    """Groups with about this fraction of every class; those of a smaller fraction are among those of a larger one.

    Each group is counted with the class that most of its images are of. In such a class the first groups are kept, up
    to the one whose middle lies beyond the fraction: of groups of one image that is floor(fraction * n + 1/2).
    """
    by_class: dict[str, list[str]] = {}
    for group in _ordered(members, seed, "fraction"):
        main = min(members[group], key=lambda label: (-members[group][label], label))
        by_class.setdefault(main, []).append(group)
    kept = set()
    for groups in by_class.values():
        sizes = [sum(members[group].values()) for group in groups]
        limit, before = round(fraction * sum(sizes), 9), 0
        for group, size in zip(groups, sizes, strict=True):
            if before + size / 2 <= limit:
                kept.add(group)
            before += size
    return kept


def fold_of_groups(members: Members, folds: int, seed: int) -> dict[str, int]:
    """{group: fold}: large groups first, each into the fold that has least of its classes, and then least in all.

    That is what makes the squares of the classes' shares, summed over folds, smallest at each step.
    """
    total = per_class(members)
    shares = [Counter[str]() for _ in range(folds)]
    found = {}
    order = _ordered(members, seed, "folds")
    for group in sorted(order, key=lambda group: -sum(members[group].values())):
        labels = sorted(members[group].items())
        costs = [
            (sum(own[label] * count / total[label] ** 2 for label, count in labels), sum(own.values()))
            for own in shares
        ]
        fold = min(range(folds), key=lambda index: costs[index])
        shares[fold].update(members[group])
        found[group] = fold
    return found


def _ordered(members: Members, seed: int, what: str) -> list[str]:
    """The groups in an order of their own for each seed and purpose."""

    def place(group: str) -> bytes:
        return blake2b(f"{seed}\0{what}\0{group}".encode(errors="surrogateescape"), digest_size=16).digest()

    return sorted(members, key=place)

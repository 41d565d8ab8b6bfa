"""What a data set is made from: chains of `from`, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping

from transferkit.errors import InputError, Problem
from transferkit.recipe.schema import Dataset
from transferkit.words.suggest import did_you_mean


def lineage(name: str, datasets: Mapping[str, Dataset | None]) -> list[str]:
    """A data set, the one that it is made from, and so on, by name.

    The last is made from none, or is not there; in a circle it is one that came before.
    """
    found = [name]
    while (dataset := datasets.get(found[-1])) is not None and dataset.from_ is not None:
        found.append(dataset.from_)
        if found[-1] in found[:-1]:
            break
    return found


def resolved(name: str, datasets: Mapping[str, Dataset | None]) -> Dataset | None:
    """The data set with its lineage followed: what it says itself wins over what it is made from.

    None where that has no end.
    """
    names = lineage(name, datasets)
    made = [dataset for one in names[:-1] if (dataset := datasets[one]) is not None]
    base = None if names[-1] in names[:-1] else datasets.get(names[-1])
    if base is None:
        return None
    said: dict[str, object] = {}
    for one in reversed(made):
        said |= {key: getattr(one, key) for key in one.model_fields_set - {"from_", "corruptions"}}
    return base.model_copy(update=said) if said else base


def resolve(name: str, datasets: Mapping[str, Dataset]) -> Dataset:
    """The same. Raises InputError where there is no such data set, or its lineage has no end."""
    found = resolved(name, datasets)
    if found is not None:
        return found
    *makers, last = lineage(name, datasets)
    if last in makers:
        raise InputError(f"datasets.{name}: {' -> '.join([*makers, last])} goes in a circle")
    by = makers[-1] if makers else name
    raise InputError(Problem(f"datasets.{by}", f'no data set called "{last}"', did_you_mean(last, datasets)))

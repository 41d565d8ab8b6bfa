"""What the drawn world of the quickstart has planted, and whether a run found it: how far from the bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.data.world_classes import SHARED, SOURCE_ONLY
from transferkit.system.atomic import read_json


@dataclass(frozen=True)
class Planted:
    """One thing that is there to be found: the value lies above the bound, and every class is as planted."""

    text: str
    value: float
    bound: float
    right: int = 1
    of: int = 1

    @property
    def found(self) -> bool:
        """Whether it was."""
        return self.right == self.of and self.value > self.bound

    def __str__(self) -> str:
        margin = f" ({self.value / self.bound:.1f} times as much)" if self.bound else ""
        outcome = "found " if self.found else "MISSED"
        return f"{outcome}  {self.text} {self.value:.3g}, and more than {self.bound:.3g} is asked for{margin}"


def planted(run: Path, analyses: Mapping[str, str]) -> Iterator[Planted]:
    """What the analyses `lingering` and `distraction` of a run on the drawn world found, as far as they ran."""
    if "lingering" in analyses:
        yield from _classes(read_json(run / analyses["lingering"]))
    if "distraction" in analyses:
        low = read_json(run / analyses["distraction"])["metrics"]["difference_low"]
        text = "it looks at what the source model sees more than the baseline does: overlap larger by at least"
        yield Planted(text, float("nan") if low is None else low, 0)


def _classes(report: Mapping[str, Any]) -> Iterator[Planted]:
    table, options = report["tables"]["lingering"], report["parameters"]
    rows = {row["name"]: row for row in (dict(zip(table["columns"], one, strict=True)) for one in table["rows"])}

    def least(names: tuple[str, ...], state: str, column: str) -> tuple[float, int, int]:
        right = sum(rows[name]["state"] == state for name in names)
        return min(rows[name][column] for name in names), right, len(names)

    value, right, of = least(SOURCE_ONLY, "lingering", "mean_probability")
    text = f"{right} of {of} classes that no wheel or sign shows linger: mean probability at least"
    yield Planted(text, value, options["p_lo"], right, of)
    value, right, of = least(SHARED, "shared", "prevalence_share")
    text = f"{right} of {of} classes that wheels and signs are made of are seen there: in a share of at least"
    yield Planted(text, value, options["v_lo"], right, of)

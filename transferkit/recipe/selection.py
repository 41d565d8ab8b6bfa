"""What decides which epoch is the best: top-1, the loss, or a number of a metric that the stage names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from transferkit.errors import InputError, Problem
from transferkit.plugins.hooks import Plugin
from transferkit.plugins.registry import Component
from transferkit.words.suggest import did_you_mean

OWN = ("top1", "loss")


@dataclass(frozen=True)
class Selection:
    """What the best epoch has most of, as the recipe says it; of a metric, its instance, key and direction."""

    name: str = "top1"
    instance: str = ""
    key: str = ""
    sign: int = 1

    def value(self, metrics: Mapping[str, Mapping[str, float]]) -> float | None:
        """The number of an evaluation's metrics that it names; None where it is top1 or the loss.

        Raises InputError where the metric did not return it.
        """
        if not self.instance:
            return None
        found = metrics.get(self.instance, {})
        if self.key not in found:
            raise InputError(f'the metric "{self.instance}" did not return "{self.key}", which select names')
        return found[self.key]


def selection(name: str, metrics: Mapping[str, Component]) -> Selection:
    """What `select: NAME` or `NAME.KEY` means among metrics by instance name; NAME alone where it declares one number.

    Raises InputError with a suggestion for what no metric of the stage declares, and for a number of which neither
    more nor less is better.
    """
    if name in OWN:
        return Selection(name)
    known: dict[str, Selection] = {}
    for instance, component in metrics.items():
        declared = component.declared.metrics
        for one in declared:
            sign = {"better": 1, "worse": -1}.get(one.more, 0)
            known[f"{instance}.{one.key}"] = Selection(name, instance, one.key, sign)
        if len(declared) == 1:
            known[instance] = known[f"{instance}.{declared[0].key}"]
    found = known.get(name)
    if found is None:
        if name in metrics:
            keys = [key for key in known if key.startswith(f"{name}.")]
            several = f"has several numbers: say which, {' or '.join(keys)}"
            raise InputError(Problem("", f'the metric "{name}" {several if keys else "declares no numbers"}'))
        raise InputError(Problem("", f'no metric of this stage is called "{name}"', did_you_mean(name, [*OWN, *known])))
    if not found.sign:
        raise InputError(Problem("", f'"{name}" does not say whether more of it is better (Metric(more=…))'))
    return found


def selection_of(name: str, plugins: Iterable[Plugin]) -> Selection:
    """The same among the plugins of a stage."""
    return selection(name, {one.name: one.component for one in plugins if one.kind == "metric"})

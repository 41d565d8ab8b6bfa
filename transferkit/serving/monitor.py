"""What Prometheus reads of the alarm over each model's stream: e-values, their limits, and whether one was reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from transferkit.deploy.interference import Interference
from transferkit.deploy.log_lines import Line
from transferkit.deploy.monitor import Monitor, hypotheses
from transferkit.errors import InputError

if TYPE_CHECKING:
    from transferkit.serving.schema import Prediction

PREFIX = "transferkit_monitor"
OF_RATE = {
    "e_value": "Evidence that more is flagged than of clean images.",
    "e_value_limit": "The e-value at which the alarm is given.",
    "alarm": "1 since the e-value of the rate reached its limit.",
    "answers": "Answers that were watched, since this process opened the model.",
}
OF_CLASS = {
    "class_e_value": "Evidence that a source class is the strongest more often than of clean images.",
    "class_e_value_limit": "The e-value at which the alarm is given.",
    "class_alarm": "1 since the e-value of the class reached its limit.",
}


class StreamMonitors(Collector):
    """One for each model, since it was opened; none for models whose clean images nothing is known of."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._monitors: dict[str, tuple[Monitor, dict[str, int]]] = {}
        registry.register(self)

    def watch(self, model: str, interference: Interference | None) -> None:
        """From now on the answers of this model, in place of one of that name."""
        self._monitors.pop(model, None)
        if interference is None:
            return
        places = {interference.source_classes[index]: index for index in reversed(interference.indices)}
        try:
            self._monitors[model] = Monitor(hypotheses(interference)), places
        except InputError:  # a threshold that was given, without clean images: there is nothing to compare with
            return

    def saw(self, model: str, answered: Prediction) -> None:
        """Take in one answered image."""
        if model in self._monitors and answered.flag is not None:
            monitor, places = self._monitors[model]
            monitor.add(Line(answered.flag, places.get(answered.source_class or "")))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The values of now; classes by name, of which there are as many as the detectors watch."""
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
            for texts, labels in ((OF_RATE, ["model"]), (OF_CLASS, ["model", "source_class"]))
            for name, text in texts.items()
        }
        for model, (monitor, _) in self._monitors.items():
            values, alarmed = monitor.e_values(), {one.name for one in monitor.alarms}
            for one in monitor.watched:
                labels, prefix = ([model], "") if one.name is None else ([model, one.name], "class_")
                families[f"{prefix}e_value"].add_metric(labels, values[one.name])
                families[f"{prefix}e_value_limit"].add_metric(labels, one.limit)
                families[f"{prefix}alarm"].add_metric(labels, float(one.name in alarmed))
            families["answers"].add_metric([model], float(monitor.records))
        yield from families.values()

"""What Prometheus reads of the alarm over this server's stream: e-values, their limits, and whether one was reached."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from transferkit.deploy.interference import Interference
from transferkit.deploy.log_lines import Line
from transferkit.deploy.monitor import Monitor, hypotheses
from transferkit.errors import InputError
from transferkit.serving.schema import Prediction

PREFIX = "transferkit_monitor"


class StreamMonitor(Collector):
    """Watches since this process started; silent for a model whose clean images nothing is known of."""

    def __init__(self, interference: Interference | None, registry: CollectorRegistry) -> None:
        self._monitor: Monitor | None = None
        if interference is None:
            return
        self._places = {interference.source_classes[index]: index for index in reversed(interference.indices)}
        try:
            self._monitor = Monitor(hypotheses(interference))
        except InputError:  # a threshold that was given, without clean images: there is nothing to compare with
            return
        registry.register(self)

    def saw(self, answered: Prediction) -> None:
        """Take in one answered image."""
        if self._monitor is not None and answered.flag is not None:
            self._monitor.add(Line(answered.flag, self._places.get(answered.source_class or "")))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The values of now; classes by name, of which there are as many as the detector watches."""
        if self._monitor is None:
            return
        values = self._monitor.e_values()
        alarmed = {one.name for one in self._monitor.alarms}
        rate, *classes = self._monitor.watched
        for name, text, of_rate in (
            ("e_value", "Evidence that more is flagged than of clean images.", values[None]),
            ("e_value_limit", "The e-value at which the alarm is given.", rate.limit),
            ("alarm", "1 since the e-value of the rate reached its limit.", float(None in alarmed)),
            ("answers", "Answers that were watched, since this process started.", float(self._monitor.records)),
        ):
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, of_rate)
        for name, text in (
            ("e_value", "Evidence that a source class is the strongest more often than of clean images."),
            ("e_value_limit", "The e-value at which the alarm is given."),
            ("alarm", "1 since the e-value of the class reached its limit."),
        ):
            family = GaugeMetricFamily(f"{PREFIX}_class_{name}", text, labels=["source_class"])
            for one in classes:
                assert one.name is not None
                shown = {"e_value": values[one.name], "e_value_limit": one.limit, "alarm": float(one.name in alarmed)}
                family.add_metric([one.name], shown[name])
            yield family

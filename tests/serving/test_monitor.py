"""The alarm that Prometheus reads is that of `transferkit watch`, answer by answer."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from transferkit.deploy.interference import Calibration, Guarantee, read_interference
from transferkit.deploy.log_lines import Line
from transferkit.deploy.monitor import Monitor, hypotheses
from transferkit.serving.monitor import StreamMonitor
from transferkit.serving.schema import Prediction
from transferkit.testing import tiny_guarded


@pytest.fixture(scope="module")
def interference(tmp_path_factory):
    return read_interference(tiny_guarded(tmp_path_factory.mktemp("monitor") / "model", named=[1] * 2 + [3] * 17))


def answered(flag, name):
    return Prediction.model_construct(flag=flag, source_class=name)


def test_values_are_those_of_a_monitor(interference):
    registry, rng = CollectorRegistry(), np.random.default_rng(0)
    served, alone = StreamMonitor(interference, registry), Monitor(hypotheses(interference))
    for flag in rng.random(300) < 0.6:
        served.saw(answered(bool(flag), "espresso"))
        alone.add(Line(bool(flag), 1))
    served.saw(answered(None, None))  # a model without a detector says nothing
    values = alone.e_values()
    assert registry.get_sample_value("transferkit_monitor_e_value") == values[None]
    assert registry.get_sample_value("transferkit_monitor_e_value_limit") == alone.watched[0].limit
    assert registry.get_sample_value("transferkit_monitor_answers") == 300
    assert registry.get_sample_value("transferkit_monitor_alarm") == 1
    for name, alarm in (("espresso", 1), ("daisy", 0)):
        assert registry.get_sample_value("transferkit_monitor_class_e_value", {"source_class": name}) == values[name]
        assert registry.get_sample_value("transferkit_monitor_class_alarm", {"source_class": name}) == alarm
    assert b"transferkit_monitor_alarm 1.0" in generate_latest(registry)


def test_silent_where_nothing_is_known_of_clean_images(interference):
    from dataclasses import replace

    bare = replace(interference, calibration=Calibration.of([]), guarantee=Guarantee(None, None, 0, ""))
    for one in (None, bare):
        registry = CollectorRegistry()
        StreamMonitor(one, registry).saw(answered(True, "espresso"))
        assert generate_latest(registry) == b""

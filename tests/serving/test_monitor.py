"""The alarm that Prometheus reads is that of `transferkit watch`, answer by answer."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from transferkit.deploy.interference import Calibration, Guarantee, read_interference
from transferkit.deploy.log_lines import Line
from transferkit.deploy.monitor import Monitor, hypotheses
from transferkit.serving.monitor import StreamMonitors
from transferkit.serving.schema import Prediction
from transferkit.testing import tiny_guarded


@pytest.fixture(scope="module")
def interference(tmp_path_factory):
    return read_interference(tiny_guarded(tmp_path_factory.mktemp("monitor") / "model", named=[1] * 2 + [3] * 17))


def answered(flag, name):
    return Prediction.model_construct(flag=flag, source_class=name)


def test_values_are_those_of_a_monitor(interference):
    registry, rng = CollectorRegistry(), np.random.default_rng(0)
    served, alone = StreamMonitors(registry), Monitor(hypotheses(interference))
    for name in ("a", "b"):
        served.watch(name, interference)
    for flag in rng.random(300) < 0.6:
        served.saw("a", answered(bool(flag), "espresso"))
        alone.add(Line(bool(flag), 1))
    served.saw("a", answered(None, None))  # an answer without a detector says nothing
    values = alone.e_values()

    def value(name, **labels):
        return registry.get_sample_value(f"transferkit_monitor_{name}", {"model": "a", **labels})

    assert value("e_value") == values[None] and value("e_value_limit") == alone.watched[0].limit
    assert value("answers") == 300 and value("alarm") == 1
    for name, alarm in (("espresso", 1), ("daisy", 0)):
        assert value("class_e_value", source_class=name) == values[name]
        assert value("class_alarm", source_class=name) == alarm
    text = generate_latest(registry)
    assert b'transferkit_monitor_alarm{model="a"} 1.0' in text and b'transferkit_monitor_alarm{model="b"} 0.0' in text
    served.watch("a", interference)
    assert value("answers") == 0  # the folder changed: another detector begins anew


def test_silent_where_nothing_is_known_of_clean_images(interference):
    from dataclasses import replace

    bare = replace(interference, calibration=Calibration.of([]), guarantee=Guarantee(None, None, 0, ""))
    for one in (None, bare):
        registry = CollectorRegistry()
        served = StreamMonitors(registry)
        served.watch("a", one)
        served.saw("a", answered(True, "espresso"))
        assert b'model="a"' not in generate_latest(registry)

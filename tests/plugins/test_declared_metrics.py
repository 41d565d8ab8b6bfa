"""What all analyzers declare, taken together: one name is one number."""

from __future__ import annotations

from collections import defaultdict

from transferkit.analysis.fail_on import parse
from transferkit.plugins.registry import installed

REGISTRY = installed()
DECLARED = {name: REGISTRY.get("analyzer", name).declared.metrics for name in REGISTRY.names("analyzer")}


def twice(word_of, other_of):
    """{word: its metrics} where two analyzers use one word for what they otherwise call differently."""
    found = defaultdict(set)
    for metrics in DECLARED.values():
        for one in metrics:
            found[word_of(one)].add(other_of(one))
    return {word: others for word, others in found.items() if len(others) > 1}


def test_a_key_stands_for_one_number_in_all_analyzers():
    assert len(DECLARED) > 10
    assert twice(lambda one: one.key, lambda one: (one.name, one.unit)) == {}


def test_a_plain_name_stands_for_one_number_in_all_analyzers():
    assert twice(lambda one: one.name, lambda one: one.key) == {}


def test_every_metric_of_the_standard_audit_can_be_asked_for_by_its_key_alone():
    keys = {name: REGISTRY.get("analyzer", name).declared.metric_keys for name in DECLARED}
    standard = {name: keys[name] for name in keys if REGISTRY.get("analyzer", name).declared.standard_audit is not None}
    for key in {key for of in standard.values() for key in of}:
        parse(f"{key} > 1").check_names(standard)  # raises for a name that several have

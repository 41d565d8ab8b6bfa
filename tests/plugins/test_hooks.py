from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.plugins.distributions import Owner
from transferkit.plugins.hooks import Plugin, RunPlugins, check_signatures
from transferkit.plugins.registry import Component
from transferkit.report import Metric


@dataclass
class Adds:
    amount: int = 0

    def penalty(self, features, step):
        return features + step + self.amount


@dataclass
class Asks:
    def penalty(self, logits):
        return logits

    def teardown(self):
        return "bye"


def plugin(instance: Any, name: str) -> Plugin:
    component = Component("regularizer", name, type(instance), Owner(name, f"dist-{name}", "1.0"))
    return Plugin("regularizer", name, instance, component)


def test_calls_come_in_recipe_order_with_what_they_ask_for() -> None:
    plugins = RunPlugins([plugin(Adds(10), "first"), plugin(Asks(), "second"), plugin(Adds(20), "third")])
    offers = SimpleNamespace(features=1, logits=2, step=3)
    calls = plugins.calls("penalty")
    assert [call.plugin.name for call in calls] == ["first", "second", "third"]
    assert [call(offers) for call in calls] == [14, 2, 24]
    assert plugins.requests("penalty") == {"features", "logits", "step"}
    assert plugins.order() == {"penalty": ["first", "second", "third"], "teardown": ["second"]}
    assert plugins.calls("analyze") == ()
    assert plugins.calls("teardown")[0](offers) == "bye"


def test_an_exception_names_plugin_and_hook_and_keeps_its_type() -> None:
    @dataclass
    class Fails:
        def penalty(self, features):
            raise KeyError("x")

    (call,) = RunPlugins([plugin(Fails(), "fails")]).calls("penalty")
    with pytest.raises(KeyError) as caught:
        call(SimpleNamespace(features=1))
    assert caught.value.__notes__ == ["in penalty of the regularizer 'fails' (dist-fails 1.0)"]


class Misspelt:
    def penalti(self, features):
        return features


class WrongArgument:
    def penalty(self, featres):
        return featres


class HasDefault:
    def penalty(self, features, step=0):
        return features


class Greedy:
    def penalty(self, **everything):
        return everything


class Nothing:
    def helper(self):
        return 1


class NotAMethod:
    penalty = 3


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (Misspelt, 'no hook "penalti"; did you mean "penalty"'),
        (WrongArgument, 'no argument "featres" to ask for; did you mean "features"'),
        (HasDefault, '"step" has a default'),
        (Greedy, r"instead of \*everything"),
        (Nothing, "implements no hook"),
        (NotAMethod, "must be a method"),
    ],
)
def test_a_mistake_is_answered_by_name(cls: type, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_signatures(cls)


def test_inherited_methods_count() -> None:
    class Child(Adds):
        pass

    check_signatures(Child)
    (call,) = RunPlugins([plugin(Child(1), "child")]).calls("penalty")
    assert call(SimpleNamespace(features=1, step=1)) == 3


class Same:
    """Equal to everything and not hashable, as a dataclass with a tensor is nearly."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other):
        raise ValueError("the truth value of a tensor is ambiguous")

    def penalty(self, features):
        return features


def test_instances_are_told_apart_by_identity() -> None:
    equal = [plugin(Adds(1), "one"), plugin(Adds(1), "two"), plugin(Same(), "three"), plugin(Same(), "four")]
    plugins = RunPlugins(equal)
    assert [call.plugin.name for call in plugins.calls("penalty")] == ["one", "two", "three", "four"]
    assert [call(SimpleNamespace(features=1, step=1)) for call in plugins.calls("penalty")] == [3, 3, 1, 1]
    assert len(set(equal)) == 4 and equal[0] != plugin(Adds(1), "one")
    shared = Adds(1)
    names = [call.plugin.name for call in RunPlugins([plugin(shared, "a"), plugin(shared, "b")]).calls("penalty")]
    assert names == ["a", "b"]


def test_what_a_class_declares_beside_its_hooks():
    class Mixed:
        metrics = ("plain", Metric("x", "the x", "share", "worse", "How?", interval=True))
        standard_audit = 7
        in_place = True

    found = Declared.of(Mixed)
    plain, x = found.metrics
    assert (plain.key, plain.name, plain.unit, plain.more) == ("plain", "plain", "number", "neither")
    assert x.keys == ("x", "x_low", "x_high") and found.metric_keys == ["plain", "x", "x_low", "x_high"]
    assert (found.standard_audit, found.in_place, found.takes_tables, found.conflicts) == (7, True, False, frozenset())


def test_a_class_that_declares_nothing():
    assert Declared.of(object) == Declared(metrics=[]) and not Declared.of(object).metric_keys

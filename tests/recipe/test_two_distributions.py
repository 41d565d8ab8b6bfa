"""Two distributions that offer a plugin of one name: `use: dist:name` says which, and the name stays the name."""

from __future__ import annotations

import pytest

from transferkit.analysis.audit_request import choose, standard
from transferkit.cli.audit import read_settings
from transferkit.errors import InputError
from transferkit.plugins.distributions import Owner
from transferkit.recipe.json_schema import recipe_schema

from .small_recipes import RECIPE, Memory, Remember, Spectral, plugin_module, registry_of

EXPLICIT = RECIPE.replace("use: spectral", "use: other.dist:spectral")


class Standard(Memory):
    standard_audit = 5


@pytest.fixture
def registry(registry):
    registry.load(plugin_module(regularizer={"spectral": Remember}), Owner("more", "other.dist", "7"))
    registry.load(plugin_module(analyzer={"memory": Standard}), Owner("more", "second", "8"))
    return registry


def test_only_what_uses_the_name_is_refused(load, errors):
    text = RECIPE.replace("      - {use: spectral, weight: {from: 0, to: 0.1, over: 2}, k: 2}\n", "")
    text = text.partition("analyses:")[0]
    load(text=text)
    found = errors(text=RECIPE)
    assert (
        "recipe.yaml:16:15  stages.target.regularizers.spectral.use: 2 installed distributions offer the regularizer"
        in found
    )
    assert "third-party 1.2 and other.dist 7" in found and "use: third-party:spectral or other.dist:spectral" in found
    assert "third-party:memory or second:memory" in found


def test_the_name_without_the_distribution_is_the_instance(load):
    text = RECIPE.replace("use: spectral", "use: third-party:spectral").replace("use: memory", "use: second:memory")
    loaded = load("stages.target.regularizers.spectral.k=3", "analyses.memory.top=2", text=text)
    plugins = list(loaded.plugins("target"))
    assert [plugin.name for plugin in plugins] == ["pull", "spectral"]
    assert type(plugins[1].instance) is Spectral and plugins[1].instance.k == 3
    assert [(one.name, type(one.instance), one.instance.top) for one in loaded.analyses()] == [("memory", Standard, 2)]
    again = load(text=loaded.dump())
    assert again.data() == loaded.data()


def test_of_another_distribution(errors):
    found = errors(text=EXPLICIT.partition("analyses:")[0])
    assert "stages.target.regularizers.spectral.k: spectral has no such option" in found
    assert "strength: is missing: spectral needs it" in found
    unknown = errors(text=EXPLICIT.replace("other.dist", "nobody"))
    assert 'no regularizer called "nobody:spectral"' in unknown


def test_an_audit_says_which(registry):
    warnings: list[str] = []
    assert standard(registry, warnings.append) == []
    assert "third-party:memory or second:memory" in warnings[0]
    settings = read_settings(["second:memory.top=2"])
    assert settings == {"second:memory": {"top": 2}}
    for names, options in ((["second:memory"], settings), (["second:memory"], {"memory": {"top": 2}})):
        (chosen,) = choose(registry, names, options, warnings.append)
        assert chosen.plugin.name == "memory" and chosen.parameters == {"top": 2}
        assert type(chosen.plugin.instance) is Standard
    with pytest.raises(InputError, match="2 installed distributions offer the analyzer"):
        choose(registry, ["memory"], {}, warnings.append)
    with pytest.raises(InputError, match='would both report as "memory"'):
        choose(registry, ["second:memory", "third-party:memory"], {}, warnings.append)
    with pytest.raises(InputError, match='options for "third-party:memory"'):
        choose(registry, ["second:memory"], {"third-party:memory": {"top": 1}}, warnings.append)


def test_a_distribution_with_dots_in_its_settings():
    assert read_settings(["other.dist:memory.top=a:b.c"]) == {"other.dist:memory": {"top": "a:b.c"}}


def test_the_schema_has_both(registry):
    defs = recipe_schema(registry)["$defs"]
    names = defs["plugin.regularizer"]["properties"]["use"]["enum"]
    assert names == ["other.dist:spectral", "pull", "remember", "third-party:spectral"]
    assert "strength" in defs["plugin.regularizer.other.dist:spectral"]["properties"]


def test_the_one_is_told_from_the_other_in_a_merge(load):
    registry_of(regularizer={"spectral": Spectral})
    changed = "extends: base.yaml\nstages: {target: {regularizers: {spectral: {use: third-party:spectral, k: 1}}}}\n"
    load(
        text=RECIPE.replace("use: memory", "use: second:memory").replace("use: spectral", "use: third-party:spectral"),
        path="base.yaml",
    )
    assert load(text=changed, path="top.yaml").plugins("target").plugins[1].instance.k == 1

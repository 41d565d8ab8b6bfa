"""What an audit goes by: what it was told, else what the recipe of the target's run says, else defaults. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transferkit.analysis.audit_request import Arguments, ChosenAnalyzer, choose, run_place
from transferkit.errors import InputError
from transferkit.plugins.options import defaults
from transferkit.plugins.registry import Registry
from transferkit.recipe.tree import shown
from transferkit.runs.origin import analysis_options, recipe_of
from transferkit.words.names import plain_name


@dataclass(frozen=True)
class Inherited:
    """What the run of an audit's target says of settings that the audit was not told."""

    values: dict[str, Any]
    """Of `seed`, `device` and `threads` those that count."""
    options: dict[str, dict[str, Any]]
    """{analyzer: its options in the recipe}."""
    place: str = ""
    """The recipe."""

    @classmethod
    def of(cls, arguments: Arguments) -> Inherited:
        """From the recipe beside the target; nothing where the target is no stage of a run."""
        place = run_place(arguments.target)
        recipe = None if place is None else recipe_of(place)
        if place is None or place.run is None or recipe is None:
            return cls({}, {})
        stage = next((one for one in recipe.stages if one.name == place.stage), None)
        values = {"seed": recipe.seed, "device": recipe.device, "threads": recipe.threads}
        return cls(
            {name: value for name, value in values.items() if getattr(arguments, name) is None and value is not None},
            {} if stage is None else analysis_options(recipe, stage),
            shown(place.run / "recipe.yaml"),
        )


@dataclass(frozen=True)
class Settings:
    """What one audit goes by."""

    seed: int
    device: str
    threads: int | None
    chosen: list[ChosenAnalyzer]
    beside: list[ChosenAnalyzer]
    """Analyzers of the run's recipe that do not run here: the others may ask for their options."""
    inherited: dict[str, Any]
    """{setting: value} from the run's recipe, without those that are the default anyway."""


def settle(arguments: Arguments, registry: Registry, warn: Callable[[str], None]) -> Settings:
    """Decide every setting. Raises InputError for analyses and options that cannot be, and a recipe that is none."""
    known = Inherited.of(arguments)
    chosen = choose(registry, arguments.analyses, arguments.options, warn, known.options, known.place)
    there = {plain_name(one.plugin.name) for one in chosen}
    rest = [name for name in known.options if name not in there and _usable(registry, name)]
    beside = choose(registry, rest, {}, warn, known.options, known.place) if rest else []
    told = {plain_name(name): options for name, options in arguments.options.items()}
    options: dict[str, Any] = {}
    for one in (*chosen, *beside):
        name = plain_name(one.plugin.name)
        open_ones = set(known.options.get(name, {})) - set(told.get(name, {}))
        options |= {f"{name}.{option}": value for option, value in _changed(one).items() if option in open_ones}

    def first(name: str, default: Any) -> Any:
        given = getattr(arguments, name)
        return known.values.get(name, default) if given is None else given

    usual = {"seed": 0, "device": "auto", "threads": None}
    settled = {name: first(name, default) for name, default in usual.items()}
    common = {name: value for name, value in known.values.items() if value != usual[name]}
    return Settings(**settled, chosen=chosen, beside=beside, inherited=common | options)


def _usable(registry: Registry, name: str) -> bool:
    try:
        registry.get("analyzer", name)
    except InputError:  # of a plugin that only the run had
        return False
    return True


def _changed(one: ChosenAnalyzer) -> dict[str, Any]:
    """The options that are not the default."""
    usual = defaults(one.plugin.component.options)
    return {name: value for name, value in one.parameters.items() if name not in usual or value != usual[name]}

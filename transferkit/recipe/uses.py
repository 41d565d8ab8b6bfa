"""Plugins named in a recipe: what the core reads of each use; all else is the plugin's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, PrivateAttr, Tag

from transferkit.recipe.base import AboveZero, Name, Positive, Section, Weight
from transferkit.words.names import plain_name

Split = Literal["train", "val", "test"]


class PluginUse(Section):
    """A plugin named in a recipe. All other keys are the plugin's own options."""

    model_config = ConfigDict(extra="allow", validate_default=True, populate_by_name=True, frozen=True)

    use: str = Field(description="the plugin's registered name, or distribution:name where several offer it")
    name: Name | None = Field(None, description="the name in logs and state; needed for a second instance")
    _component: Any = PrivateAttr(None)  # a Component: sections know nothing of registries

    @property
    def component(self) -> Any:
        """The Component that the name stands for where the recipe was read, if that was noted; else None."""
        return self._component

    def meaning(self, component: Any) -> PluginUse:
        """The same, with what it stands for noted: for a data set's reader, which is asked wherever it is opened."""
        noted = self.model_copy()
        noted._component = component
        return noted

    @property
    def instance_name(self) -> str:
        """The name under which logs, state and overrides know this instance."""
        return self.name or plain_name(self.use)

    @property
    def options(self) -> dict[str, Any]:
        """The plugin's own options as the recipe gives them."""
        return dict(self.model_extra or {})


class WeightSchedule(Section):
    """A weight that moves from one value to another over the first epochs."""

    from_: Weight = Field(alias="from")
    to: Weight
    over: AboveZero = Field(description="epochs")
    shape: Literal["linear", "cosine"] = "linear"


def _weight_form(value: object) -> str:
    """Which of the three forms a weight has, so that a mistake is judged by that form alone."""
    if isinstance(value, WeightSchedule):
        return "schedule"
    if isinstance(value, dict):
        return "schedule" if {"from", "from_", "to", "over"} & set(value) else "terms"
    return "number"


class RegularizerUse(PluginUse):
    """A penalty or an anchor, with its weight in the loss; or a change of the features, which has none."""

    weight: (
        Annotated[
            Annotated[Weight, Tag("number")]
            | Annotated[WeightSchedule, Tag("schedule")]
            | Annotated[dict[str, Weight], Tag("terms")],
            Discriminator(_weight_form),
        ]
        | None
    ) = Field(None, description="a number, {term: number}, or {from, to, over}")
    on: str = Field("target", description="the stream it sees: target, another stream's name, or all")


class CorruptionUse(PluginUse):
    """A change planted in a data set, in recipe order."""

    splits: list[Split] = Field(["train", "val", "test"], min_length=1)


class AnalyzerUse(PluginUse):
    """An analyzer, run on finished models or on schedule."""

    stage: str | None = Field(None, description="the stage whose model is the target; default: the last one")
    dataset: str | None = Field(None, description="the data set it looks at, usually source images")
    source: str | None = Field(
        None, description="the stage whose model is the source; default: what the stage starts from"
    )
    baseline: str | None = Field(None, description="the stage whose model is the baseline")
    every: Positive | None = Field(None, description="also run every so many epochs of the stage")

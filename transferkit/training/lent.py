"""What hooks get for `session`: what the docs list and nothing that trains. What they change all the same is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transferkit.errors import TransferkitError
from transferkit.model.witness import Facts, difference, facts, remedy, structure, versions
from transferkit.words.suggest import closest

if TYPE_CHECKING:
    from transferkit.plugins.hooks import Call
    from transferkit.training.session import TrainingSession
    from transferkit.training.workspace import Workspace

BEFORE = (
    "stage", "seed", "out", "model", "reference", "source_head", "train_samples", "validation_samples", "open_samples",
    "device", "classes", "rng", "warn", "cached", "progress", "state",
)  # fmt: skip
"""What there is before the loaders exist."""
GIVEN = (
    *BEFORE,
    "total_steps",
    "total_epochs",
    "passes_per_epoch",
    "updates_per_epoch",
    "epochs_done",
    "progress_made",
)
"""What there is from `setup` on."""


class Lent:
    """A session as a plugin sees it. Only the core has the rest: optimizer, wrapped model, loaders."""

    __slots__ = ("_given", "_session")

    def __init__(self, session: Workspace, given: tuple[str, ...] = GIVEN) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_given", given)

    def __getattr__(self, name: str) -> Any:
        if name == "state":  # a copy: where the stage stands is not a plugin's to say
            return replace(self._session.state)
        if name in self._given:
            return getattr(self._session, name)
        match = closest(name, self._given)
        hint = f'did you mean "{match}"?' if match else f"it has: {', '.join(self._given)}"
        raise AttributeError(f"session has no {name} for plugins, which return values and change nothing; {hint}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"session.{name} cannot be set; keep what you need on self")

    def __dir__(self) -> list[str]:
        return list(self._given)


class Watch:
    """Calls hooks that only look, and says who changed what.

    Around every call the counts that grow when a weight is changed in place are compared. `closely`, everything is:
    weights by their norms, modules, hooks, modes, what trains, and the optimizer.
    """

    def __init__(self, session: TrainingSession) -> None:
        self._session = session
        self._kept = list(session.model.state_dict(keep_vars=True).values())
        self._begun: Facts | None = None
        self.lent = Lent(session)

    def call(self, call: Call, offers: object, *, closely: bool) -> Any:
        """What the plugin returns. Raises TransferkitError that names it where it changed something."""
        if not closely:
            before = [tensor._version for tensor in self._kept]
            value = call(offers)
            if before != [tensor._version for tensor in self._kept]:
                known = versions(self._session.model)
                names = [name for name, old in zip(known, before, strict=True) if known[name] != old]
                raise changed(f"{call.hook} of the {call.plugin}", f"the weights {names[0]}")
            return value
        first = self._facts()
        value = call(offers)
        what = difference(first, self._facts())
        if what is not None:
            raise changed(f"{call.hook} of the {call.plugin}", what)
        return value

    def begin_epoch(self) -> None:
        """What the model is made of, which no step may change."""
        self._begun = structure(self._session.model)

    def end_epoch(self, calls: tuple[Call, ...]) -> None:
        """Raises TransferkitError where a step has; `calls` are those that could."""
        what = difference(self._begun, structure(self._session.model)) if self._begun is not None and calls else None
        if what is not None:
            raise changed(" or ".join(f"{call.hook} of the {call.plugin}" for call in calls), what)

    def _facts(self) -> Facts:
        session = self._session
        found: dict[str, Mapping[str, Any]] = {**facts(session.model), "optimizer": _optimizer(session)}
        if session.reference is not None:
            found |= {f"reference's {what}": values for what, values in facts(session.reference).items()}
        return found


def _optimizer(session: TrainingSession) -> Mapping[str, Any]:
    inner = getattr(session.optimizer, "optimizer", session.optimizer)
    found: dict[str, Any] = {"hooks": len(inner._optimizer_step_pre_hooks) + len(inner._optimizer_step_post_hooks)}
    for index, group in enumerate(inner.param_groups):
        plain = {key: value for key, value in group.items() if isinstance(value, int | float | str | bool)}
        found |= {f"group {index}": (plain, [id(weight) for weight in group["params"]])}
    state = [one for entry in inner.state.values() for one in entry.values() if hasattr(one, "_version")]
    return found | {"state": (len(inner.state), sum(tensor._version for tensor in state))}


def changed(who: str, what: str) -> TransferkitError:
    """The sentence for a plugin that broke the rule."""
    return TransferkitError(
        f"{who} changed {what}{remedy(what)}. Plugins return values and the core makes every change: the run would "
        "have gone on as something else than its recipe says, so it ends here; what was saved before is as it should be"
    )

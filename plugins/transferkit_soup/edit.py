"""Model soups (Wortsman et al., ICML 2022): the mean of the weights of models that started alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from transferkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import EditSession
    from transferkit.model import TransferModel


@dataclass
class Mean:
    """A running mean of models in float64; whole numbers are those of the first."""

    first: Mapping[str, Tensor]
    count: int = 1

    def __post_init__(self) -> None:
        self._sum = {name: value.double() for name, value in self.first.items() if value.is_floating_point()}

    def with_one(self, values: Mapping[str, Tensor]) -> Mean:
        """The mean of one model more; this one stays as it is. Raises ValueError for other names or shapes."""
        if values.keys() != self.first.keys() or any(values[n].shape != v.shape for n, v in self.first.items()):
            raise ValueError("soup: the models have other tensors: they are of different architectures")
        new = Mean(self.first, self.count + 1)
        new._sum = {name: total + values[name].to(total) for name, total in self._sum.items()}
        return new

    def values(self) -> dict[str, Tensor]:
        """The mean, in the dtypes of the first model."""
        means = {name: (total / self.count).to(self.first[name].dtype) for name, total in self._sum.items()}
        return {name: means.get(name, value) for name, value in self.first.items()}


@dataclass
class Soup:
    """Average the model with other models, or with earlier checkpoints of its own training."""

    models: Annotated[
        list[Path], Field(description="model folders or runs, such as the seeds of a repeated run; none: checkpoints")
    ] = field(default_factory=list)
    how: Annotated[Literal["greedy", "uniform"], Field(description="greedy keeps what does not lower accuracy")] = (
        "greedy"
    )

    def edit(self, model: TransferModel, session: EditSession) -> dict[str, Tensor]:
        """The mean of all, or of those that the greedy recipe takes, tried from the best to the worst."""
        found: dict[str, Callable[[], Mapping[str, Tensor]]] = {"this model": model.net.state_dict}
        found |= {str(path): (lambda path=path: session.open(path)) for path in self.models}  # type: ignore[misc]
        if not self.models:
            found |= session.checkpoints()
        if len(found) < 2:
            raise InputError("soup: there is nothing to average with: name `models`, or keep more checkpoints")
        if self.how == "uniform":
            order = list(found)
        else:
            scores = {name: session.score(values()) for name, values in found.items()}
            order = sorted(found, key=lambda name: -_good(scores[name]))  # of equal ones the first stays first
        soup, taken = Mean({name: value.clone() for name, value in found[order[0]]().items()}), [order[0]]
        best = 0.0 if self.how == "uniform" else _good(scores[order[0]])
        for name in order[1:]:
            tried = soup.with_one(found[name]())
            if self.how == "uniform" or (reached := _good(session.score(tried.values()))) >= best:
                soup, taken, best = tried, [*taken, name], best if self.how == "uniform" else reached
        session.note(f"The mean of {len(taken)} of {len(found)} models: {', '.join(taken)}.", averaged=len(taken))
        return soup.values()


def _good(score: Mapping[str, float]) -> float:
    return score.get("top1", -score["loss"])

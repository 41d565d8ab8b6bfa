"""The edit `even_rows`: rows of the classifier that are more alike in length give rare classes their chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import transferkit
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor
    from transferkit import Register
    from transferkit.model import TransferModel


def even_rows(weight: Tensor, tau: float = 1.0) -> Tensor:
    """Every row divided by its length to the power of tau: (K, d) -> (K, d)."""
    lengths: Tensor = weight.norm(dim=1, keepdim=True)
    return weight / lengths.clamp(min=1e-12).pow(tau)


@dataclass
class EvenRows:
    """Give the classifier's rows lengths that are more alike, so that frequent classes do not win by theirs."""

    tau: Annotated[float, Field(ge=0, le=1, description="1 makes all rows equally long")] = 1.0

    def edit(self, model: TransferModel) -> dict[str, Tensor]:
        """{parameter: its new value}; the core puts it in place, and evaluates before and after."""
        named = dict(model.named_head_parameters())
        return {name: even_rows(value.detach(), self.tau) for name, value in named.items() if value.ndim == 2}


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Tell transferkit what this package offers."""
    register.edit("even_rows", EvenRows)

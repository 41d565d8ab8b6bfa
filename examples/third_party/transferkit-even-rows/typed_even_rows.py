"""What transferkit gives to the hooks of EvenRows, and what it expects: mypy compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transferkit.model import TransferModel

    from transferkit_even_rows import EvenRows


def call_edit(plugin: EvenRows, model: TransferModel) -> Mapping[str, Tensor]:
    """As transferkit calls `edit`."""
    return plugin.edit(model=model)

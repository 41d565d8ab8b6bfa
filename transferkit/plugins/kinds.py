"""The kinds of plugins: what recipes, registrations and checks are about."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "regularizer", "curriculum", "corruption", "analyzer", "observer",
    "adapter", "augmentation", "loss", "metric", "edit", "detector", "reader",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

"""Runs beside each other: figures 5 to 8 of the papers. Registration only; see analyzer.py, verb.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    import typer

    from transferkit import Register
    from transferkit_across.pairs import pearson as pearson
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `across`."""
    register.analyzer("across", "transferkit_across.analyzer:Across")


@transferkit.hookimpl
def transferkit_commands(cli: typer.Typer) -> None:
    """Add the verb `across`."""
    from transferkit_across.verb import across

    cli.command()(across)

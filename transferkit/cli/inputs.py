"""What several verbs are given."""

from __future__ import annotations

from typing import Annotated

import typer

AllowPlugins = Annotated[
    bool, typer.Option("--allow-plugins", help="Let the code of plugin files run that the recipe names.")
]

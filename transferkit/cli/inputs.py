"""What several verbs are given."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Tta(StrEnum):
    """Views of an image over which probabilities are averaged."""

    flips = "flips"
    crops = "crops"


TtaOption = Annotated[
    Tta | None,
    typer.Option(
        "--tta", help="Average over flips (2 passes per image) or crops (10). Default: the image.", show_default=False
    ),
]
AllowPlugins = Annotated[
    bool, typer.Option("--allow-plugins", help="Let the code of plugin files run that the recipe names.")
]

"""`transferkit push`: a model, its detector and its card to a Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from transferkit.errors import InputError
from transferkit.runs.model_place import model_place
from transferkit.system.terminal import note, say, say_whole


def push(
    model: Annotated[str, typer.Argument(help="A model folder or a run folder.", show_default=False)],
    repository: Annotated[str, typer.Argument(help="Where it goes: org/name.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="For those alone whom the owner lets in.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; list the files and show the card.")] = False,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
) -> None:
    """Put a model folder on the Hugging Face Hub, with a card. The token is taken from HF_TOKEN."""
    from transferkit.deploy import hub
    from transferkit.deploy.model_card import model_card

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"{repository}: a place on the Hub is org/name")
    place = model_place(model, stage)
    folder: Path = place.folder
    files, card = hub.files_of(folder), model_card(folder, place.run, place.stage, repository=repository)
    if dry_run:
        for name in (hub.CARD, *files):
            say_whole(name)
        say()
        say(card)
        return
    address = hub.push(folder, repository, card, private=private)
    note(f"{len(files) + 1} files are sent")
    say_whole(address)

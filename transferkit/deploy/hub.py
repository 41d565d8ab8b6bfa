"""Model folders on a Hub: which files go there, and how a folder comes back. Tensors and JSON only, never code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from transferkit.deploy.card_file import CARD as CARD
from transferkit.deploy.interference import DETECTOR, FILE, HEADS, OWN, SOURCE_MODEL
from transferkit.deploy.temperature import FILE as TEMPERATURE
from transferkit.errors import InputError, TransferkitError

PREFIX = "hf-hub:"
FILES = (
    *OWN,
    *HEADS.values(),
    DETECTOR,
    FILE,
    TEMPERATURE,
    *(f"{SOURCE_MODEL}/{name}" for name in OWN),
)
"""All that belongs to a model folder; nothing else is sent or fetched."""


def files_of(folder: Path) -> list[str]:
    """Those of them that a model folder has. Raises InputError where it holds no model."""
    missing = [name for name in OWN if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: not a model folder: there is no {missing[0]} in it")
    return [name for name in FILES if (folder / name).is_file()]


def push(folder: Path, repository: str, card: str, *, private: bool) -> str:
    """Send the files of a model folder and its card to `org/name`, which is made if need be; returns its address.

    Raises InputError without a token in HF_TOKEN, and TransferkitError where the Hub refuses or is not reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    token = os.environ.get("HF_TOKEN")
    if not token:
        raise InputError("the Hub takes files from those it knows: put a token that may write into HF_TOKEN")
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    files = [CommitOperationAdd(name, str(folder / name)) for name in files_of(folder)]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(
            repository,
            [CommitOperationAdd(CARD, card.encode("utf-8")), *files],
            commit_message="A model and its detector",
        )
    except Exception as error:  # of requests, of the Hub, of the network: too many kinds to name
        raise TransferkitError(f"{repository}: the Hub did not take it: {_first_line(error)}") from error
    return f"{api.endpoint}/{repository}"


def fetch(name: str, files: Sequence[str] = FILES) -> Path:
    """The folder of `hf-hub:org/name`, or `hf-hub:org/name@revision`, in the Hub's own cache. Raises InputError."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(files),
            cache_dir=os.environ.get("HF_HUB_CACHE"),
            endpoint=os.environ.get("HF_ENDPOINT"),
            token=os.environ.get("HF_TOKEN") or False,
        )
    except Exception as error:
        raise InputError(f"{name}: cannot be fetched: {_first_line(error)}") from error
    return Path(found)


def is_fetched(folder: Path) -> bool:
    """Whether it lies in the Hub's cache, where nobody but the Hub's client writes."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(os.environ.get("HF_HUB_CACHE") or HF_HUB_CACHE).expanduser()
    return folder.absolute().is_relative_to(cache.absolute())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

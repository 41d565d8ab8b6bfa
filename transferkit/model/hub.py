"""Files of pretrained models from the hub: safetensors or nothing; its local cache when it is out of reach."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from transferkit.errors import InputError, Problem

PICKLED = "pytorch_model.bin"  # what timm asks for where nothing else is said
SAFE = {PICKLED: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}


def pretrained_file(label: str, config: Mapping[str, Any]) -> Path:
    """The safetensors file with the weights that timm's configuration of a model names, downloaded or cached.

    timm itself falls back to a pickle where a repository has none. Raises InputError for that and for a model
    without pretrained weights; what the hub raises passes through.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, named = config.get("hf_hub_id"), config.get("hf_hub_filename") or PICKLED
    if not repository and not config.get("url"):
        raise InputError(
            Problem(
                "model.name",
                f"timm has no pretrained weights for {label}",
                "give a file with model.weights=FILE.safetensors, or start: scratch",
            )
        )
    for name in dict.fromkeys((SAFE.get(named, ""), str(Path(named).with_suffix(".safetensors")))):
        if not repository or not name:
            continue
        try:
            return fetch(repository, name)
        except LocalEntryNotFoundError:
            raise  # not in the cache, which says nothing about the hub
        except EntryNotFoundError:
            continue
    raise InputError(
        Problem(
            "model.name",
            f"the pretrained weights of {label} exist only as a pickle ({config.get('url') or repository}), which is "
            "never opened, because it can run code",
            "convert it where you trust it and give model.weights=FILE.safetensors",
        )
    )


def fetch(repository: str, name: str) -> Path:
    """One file of a repository (`owner/name` or `owner/name@revision`) in the local cache."""
    from huggingface_hub import hf_hub_download

    owner, _, revision = repository.partition("@")
    with hub_reachable():
        return Path(hf_hub_download(owner, name, revision=revision or None, library_name="timm"))


@contextmanager
def hub_reachable() -> Iterator[None]:
    """Inside, the hub library goes straight to its local cache when the hub's address cannot be resolved.

    Without this an offline start waits for most of a minute before it says so.
    """
    if _resolvable():
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolvable() -> bool:
    """False only when there is no proxy and the hub's host name has no address."""
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if getproxies().get(address.scheme or "https") or getproxies().get("all"):
        return True
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError:
        return False
    return True

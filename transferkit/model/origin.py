"""Where a model comes from: timm's registry, a folder in timm's `local-dir:` format, or the hub.

Of the hub's files only safetensors are read; its local cache does where it is out of reach.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm

from transferkit.errors import InputError, Problem
from transferkit.model.compatibility import TWO_HEADS, refused
from transferkit.model.folder_config import CONFIG, AdapterFields, read_config, read_config_file
from transferkit.model.registered import is_known, registered_names
from transferkit.system.shards import INDEX
from transferkit.system.shards import named as index_of
from transferkit.words.suggest import closest, did_you_mean

LOCAL = "local-dir:"
HUB = ("hf-hub:", "hf_hub:")
PICKLED = "pytorch_model.bin"  # what timm asks for where nothing else is said
SAFE = {PICKLED: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}


@dataclass
class Origin:
    """Where a model comes from: what timm is asked for, with which arguments, and its weights file if local.

    `config` is None where timm's registry has it; `repository` is the hub's, where the model is named by it. `adapters`
    are those whose layers are in the weights file as they are.
    """

    label: str
    architecture: str
    args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    weights: Path | None = None
    repository: str | None = None
    adapters: list[AdapterFields] = field(default_factory=list)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's description of the model and, unless it is local, of where its weights lie."""
        registered = None if self.config else timm.get_pretrained_cfg(self.architecture)
        config = self.config or (vars(registered) if registered else {})
        return {**config, "hf_hub_id": self.repository} if self.repository else dict(config)


def locate(name: str) -> Origin:
    """Read a model name, and the configuration of a folder or repository.

    Raises InputError with a suggestion for a name that timm does not have, and for a configuration that may not be.
    """
    if name.startswith(LOCAL):
        folder = Path(name[len(LOCAL) :])
        config = read_config(folder)
        config.verify(folder)
        found = Origin(name, config.architecture, config.model_args, config.pretrained_cfg, weights_in(folder))
        found.adapters = config.own.adapters
        return found
    if name.startswith(HUB):
        repository = name.partition(":")[2]
        config = read_config_file(fetch(repository, CONFIG))
        if config.own.adapters:
            text = (
                f"{name} has layers of the adapter {config.own.adapters[0].plugin}, which timm's download cannot fill"
            )
            raise InputError(Problem("model.name", text, "download the folder and give local-dir:FOLDER"))
        return Origin(name, config.architecture, config.model_args, config.pretrained_cfg, repository=repository)
    base, _, tag = name.partition(".")
    if not is_known(base) or not timm.is_model(name):
        hint = closest(base, [*timm.list_models(), *registered_names()])
        listed = ", ".join(timm.list_models(f"*{base}*")[:8])
        others = f"timm has: {listed}" if listed else "timm.list_models() lists every name"
        help_ = f'did you mean "{hint}"?' if hint else others
        raise InputError(Problem("model.name", f'timm has no model called "{name}"', help_))
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")] if tag else []
    if tag and tag not in known:
        hint = did_you_mean(tag, known) or "it has no pretrained weights at all"
        raise InputError(Problem("model.name", f'{base} has no weights called "{tag}"', hint))
    if isinstance(getattr(timm.get_pretrained_cfg(name), "classifier", None), tuple | list):
        raise refused(name, TWO_HEADS)  # said before anything is downloaded
    return Origin(name, name)


def weights_in(folder: Path) -> Path:
    """The weights file of a model folder, or the index of several.

    A pickle only where there is nothing else, so that it is refused by name.
    """
    weights, index, pickled = folder / SAFE[PICKLED], folder / f"model{INDEX}", folder / PICKLED
    there = [path for path in (weights, index, pickled) if os.path.lexists(path)]
    return there[0] if there else weights


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
    names = filter(None, (SAFE.get(named), str(Path(named).with_suffix(".safetensors"))))
    for name in (*dict.fromkeys(names), f"model{INDEX}") if repository else ():
        try:
            found = fetch(str(repository), name)
        except LocalEntryNotFoundError:
            raise  # not in the cache, which says nothing about the hub
        except EntryNotFoundError:
            continue
        for shard in sorted(set(index_of(found).values())) if name.endswith(INDEX) else ():
            fetch(str(repository), shard)
        return found
    raise InputError(
        Problem(
            "model.name",
            f"the pretrained weights of {label} exist only as a pickle ({config.get('url') or repository}), which is "
            "never opened, because it can run code",
            "download it, `transferkit convert FILE.pth`, and give model.weights=FILE.pth.safetensors",
        )
    )


def fetch(repository: str, name: str) -> Path:
    """One file of a repository (`owner/name` or `owner/name@revision`) in the local cache."""
    from huggingface_hub import hf_hub_download

    owner, _, revision = repository.partition("@")
    # an offline start would otherwise wait for most of a minute before it says so
    offline = not _resolvable()
    return Path(hf_hub_download(owner, name, revision=revision or None, library_name="timm", local_files_only=offline))


def _resolvable() -> bool:
    """False only when there is no proxy and the hub's host name has no address."""
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if getproxies().keys() & {address.scheme or "https", "all"}:
        return True
    with suppress(OSError):
        return bool(socket.getaddrinfo(address.hostname, address.port or 443))
    return False

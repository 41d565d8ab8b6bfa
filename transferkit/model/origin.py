"""Where a model comes from: timm's registry, a folder in timm's `local-dir:` format, or the hub."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from timm.models import PretrainedCfg

from transferkit.errors import InputError, Problem
from transferkit.model.compatibility import TWO_HEADS, refused
from transferkit.suggest import closest, did_you_mean

CONFIG = "config.json"
LOCAL = "local-dir:"
HUB = ("hf-hub:", "hf_hub:")


@dataclass
class Origin:
    """Where a model comes from: what timm is asked for, with which arguments, and its weights file if local."""

    label: str
    name: str
    args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    weights: Path | None = None

    @property
    def is_hub(self) -> bool:
        """Whether even the architecture has to be asked from the hub."""
        return self.name.startswith(HUB)


def locate(name: str) -> Origin:
    """Read a model name. Raises InputError with a suggestion for a name that timm does not have."""
    if name.startswith(LOCAL):
        folder = Path(name[len(LOCAL) :])
        config = read_config(folder)
        weights = folder / "model.safetensors"
        if not weights.exists() and (folder / "pytorch_model.bin").exists():
            weights = folder / "pytorch_model.bin"
        return Origin(name, config.architecture, config.model_args, config.pretrained_cfg, weights)
    if name.startswith(HUB):
        return Origin(name, name)
    if not timm.is_model(name):
        base = name.split(".")[0]
        hint = closest(base, timm.list_models())
        listed = ", ".join(timm.list_models(f"*{base}*")[:8])
        help_ = f'did you mean "{hint}"?' if hint else None
        help_ = help_ or (f"timm has: {listed}" if listed else "timm.list_models() lists every name")
        raise InputError(Problem("model.name", f'timm has no model called "{name}"', help_))
    _known_tag(name)
    if isinstance(getattr(timm.get_pretrained_cfg(name), "classifier", None), tuple | list):
        raise refused(name, TWO_HEADS)  # said before anything is downloaded
    return Origin(name, name)


def _known_tag(name: str) -> None:
    base, _, tag = name.partition(".")
    if tag:
        known = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
        if tag not in known:
            hint = did_you_mean(tag, known) or "it has no pretrained weights at all"
            raise InputError(Problem("model.name", f'{base} has no weights called "{tag}"', hint))


@dataclass
class FolderConfig:
    """What a model folder's config.json says: how to create the model, and the raw content."""

    architecture: str
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    content: dict[str, Any]


def read_config(folder: Path) -> FolderConfig:
    """The config.json of a model folder. Raises InputError when it is missing or not timm's."""
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        architecture = str(content["architecture"])
        pretrained = dict(content["pretrained_cfg"])
        model_args = dict(content.get("model_args") or {})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: not a model folder: there is no {CONFIG} in it") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the configuration of a timm model ({error})") from error
    for key in ("num_classes", "label_names", "label_descriptions"):
        if key in content:
            pretrained[key] = content[key]
    pretrained = known_fields(pretrained)
    pretrained.setdefault("architecture", architecture)
    return FolderConfig(architecture, model_args, pretrained, content)


def known_fields(config: dict[str, Any]) -> dict[str, Any]:
    """The keys that this timm's PretrainedCfg has, lists as tuples; a later timm may have written more."""
    known = {field.name for field in dataclasses.fields(PretrainedCfg)}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items() if key in known}


@contextmanager
def hub_reachable(needed: bool) -> Iterator[None]:
    """Inside, the hub library goes straight to its local cache when the hub's address cannot be resolved.

    Without this an offline start waits for most of a minute before it says so.
    """
    if not needed or _resolvable():
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

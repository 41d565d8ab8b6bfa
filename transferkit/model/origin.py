"""Where a model comes from: timm's registry, a folder in timm's `local-dir:` format, or the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm

from transferkit.errors import InputError, Problem
from transferkit.model.compatibility import TWO_HEADS, refused
from transferkit.model.folder_config import CONFIG, read_config, read_config_file
from transferkit.model.hub import fetch
from transferkit.suggest import closest, did_you_mean

LOCAL = "local-dir:"
HUB = ("hf-hub:", "hf_hub:")


@dataclass
class Origin:
    """Where a model comes from: what timm is asked for, with which arguments, and its weights file if local.

    `config` is None where timm's registry has it; `repository` is the hub's, where the model is named by it.
    """

    label: str
    architecture: str
    args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    weights: Path | None = None
    repository: str | None = None

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
        return Origin(name, config.architecture, config.model_args, config.pretrained_cfg, weights_in(folder))
    if name.startswith(HUB):
        repository = name.partition(":")[2]
        config = read_config_file(fetch(repository, CONFIG))
        return Origin(name, config.architecture, config.model_args, config.pretrained_cfg, repository=repository)
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


def weights_in(folder: Path) -> Path:
    """The weights file of a model folder; a pickle only where there is nothing else, so that it is refused by name."""
    weights = folder / "model.safetensors"
    pickled = folder / "pytorch_model.bin"
    return pickled if os.path.lexists(pickled) and not os.path.lexists(weights) else weights


def _known_tag(name: str) -> None:
    base, _, tag = name.partition(".")
    if tag:
        known = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
        if tag not in known:
            hint = did_you_mean(tag, known) or "it has no pretrained weights at all"
            raise InputError(Problem("model.name", f'{base} has no weights called "{tag}"', hint))

"""A plugin's detector out of a model folder: the installed plugin makes the module, the folder has its tensors.

This is the one file here that asks which plugins are installed, and only where a folder names one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from torch import nn

from transferkit.deploy.interference import DETECTOR, FILE, DetectorRecord
from transferkit.errors import InputError
from transferkit.model.detector import probe_scores
from transferkit.model.weights import read_tensors
from transferkit.plugins.contained import contained
from transferkit.plugins.registry import installed

if TYPE_CHECKING:
    from transferkit.model.wrapper import TransferModel

TOLERANCE = 1e-3
"""Of a probe's score, in units of the largest one where that is above 1: another machine rounds otherwise."""


def open_detector(folder: Path, record: DetectorRecord, model: TransferModel) -> nn.Module:
    """The module that the plugin's `restore` makes of the folder's tensors, in evaluation mode.

    Raises InputError where the plugin is not installed, refuses its options or tensors, or an installed version
    computes something else than the one that was fitted.
    """
    path, tensors = folder / FILE, read_tensors(folder / DETECTOR) if record.tensors else {}
    instance = _instance(path, record)
    whose = f'{path}: the detector "{record.plugin}" of {record.distribution} {record.version}'
    restore = getattr(instance, "restore", None)
    if not callable(restore):
        raise InputError(f"{whose}: the installed plugin has no restore(tensors), so it cannot be opened")
    with contained(f"{whose} cannot be opened from {DETECTOR}"):
        module = restore(tensors)
        if not isinstance(module, nn.Module):
            raise InputError(f"its restore gives a {type(module).__name__} instead of a module")
        module.load_state_dict(tensors)
        found = probe_scores(module.eval(), model.source_head(), record.layers)
    allowed = TOLERANCE * max([1.0, *(abs(score) for score in record.probe)])
    same = len(found) == len(record.probe) and all(
        abs(one - other) <= allowed for one, other in zip(found, record.probe, strict=True)
    )
    if not same:
        now = installed().get("detector", _name(record)).owner
        raise InputError(
            f"{whose} gives other scores with the {now} that is installed; install that version, or make the detector "
            "anew with the interference analyzer"
        )
    return module


def _name(record: DetectorRecord) -> str:
    return f"{record.distribution}:{record.plugin}"


def _instance(path: Path, record: DetectorRecord) -> Any:
    """The plugin with the options that it was fitted with."""
    try:
        component = installed().get("detector", _name(record))
    except InputError as error:
        raise InputError(
            f'{path}: its detector is the plugin "{record.plugin}" of {record.distribution} {record.version}, which is '
            f"not installed here: pip install {record.distribution}; an exported graph needs no plugin"
        ) from error
    try:
        return component.create(record.options)
    except ValueError as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{path}: {component} does not take the options it was fitted with: {first}") from error

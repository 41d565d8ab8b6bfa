"""The only door to `timm.create_model`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from transferkit.errors import InputError
from transferkit.model.folder_config import timm_fields
from transferkit.model_options import permitted

SLACK = 4  # a model may have more than its file: another head, positions for larger images


def create_net(
    architecture: str,
    options: Mapping[str, Any],
    *,
    where: str,
    pretrained_cfg: Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    download: Path | None = None,
    file_numbers: int | None = None,
) -> nn.Module:
    """timm's model of that architecture, which is a registered name and nothing that timm would look up elsewhere.

    `where` names the door in the InputError for options that may not pass. `download` is a safetensors file that
    timm loads in its own way. `file_numbers`, how many numbers the weights file holds, bounds the size of the model:
    what is much larger is refused while it is built. Whatever else timm raises passes through.
    """
    if not timm.is_model(architecture):
        raise InputError(f'{where}: this timm ({timm.__version__}) has no model "{architecture}"')
    arguments: dict[str, Any] = permitted(options, where)
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    if pretrained_cfg is not None:
        arguments["pretrained_cfg"] = {**timm_fields(dict(pretrained_cfg)), "custom_load": False}
    if download is not None:
        arguments["pretrained_cfg_overlay"] = {"file": str(download), "custom_load": False}
    with _bounded(file_numbers, architecture, where):
        net: nn.Module = timm.create_model(architecture, pretrained=download is not None, **arguments)
    return net


@contextmanager
def _bounded(file_numbers: int | None, architecture: str, where: str) -> Iterator[None]:
    """Inside, building stops when the parameters outgrow the file by far: before their memory is first touched."""
    if file_numbers is None:
        yield
        return
    most, thread, count = SLACK * file_numbers + 2**24, threading.get_ident(), 0

    def watch(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += parameter.numel() if parameter is not None and threading.get_ident() == thread else 0
        if count > most:
            raise InputError(
                f"{where}: describes a {architecture} of more than {count:,} parameters, and its weights file holds "
                f"{file_numbers:,} numbers"
            )

    handle = register_module_parameter_registration_hook(watch)
    try:
        yield
    finally:
        handle.remove()

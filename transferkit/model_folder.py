"""A finished model as a folder that opens here and, as `local-dir:…`, in plain timm with the same logits.

config.json is timm's, with one key of our own; tensors are safetensors; nothing is ever unpickled.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import filter_pretrained_cfg
from torch import Tensor

import transferkit
from transferkit.atomic import fsync
from transferkit.errors import InputError
from transferkit.model.compatibility import check_forward
from transferkit.model.origin import CONFIG, FolderConfig, known_fields, read_config
from transferkit.model.preprocessing import Preprocessing, complete
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.report import write_json
from transferkit.weights import load_weights, read_weights

FORMAT = 1
KEY = "transferkit"
WEIGHTS = "model.safetensors"
SOURCE_HEAD = "source_head.safetensors"


def save_model(
    folder: Path | str, model: TransferModel, source_head: SourceHead | None, info: Mapping[str, Any] | None = None
) -> Path:
    """Write the model folder and return its path. It appears complete or not at all.

    `info` is kept under config.json's `transferkit` key (where the weights came from, stage, recipe, …).
    A folder of that name is replaced. Pass the plain model: not a compiled, wrapped or averaged one.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        work.chmod(0o755)
        save_file(_plain(model.net.state_dict()), str(work / WEIGHTS), metadata={"format": "pt"})
        if source_head is not None:
            save_file(_head_tensors(source_head), str(work / SOURCE_HEAD), metadata={"format": "pt"})
        content = _config(model, source_head, info or {})
        write_json(work / CONFIG, content)
        for path in work.iterdir():
            path.chmod(0o644)  # a server often runs as another user
            fsync(path)  # on the disk before the folder gets its name
        _put_in_place(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def open_model(folder: Path | str) -> tuple[TransferModel, SourceHead | None]:
    """The model of a folder, in evaluation mode, and the source head kept beside it.

    Folders that plain timm wrote open too. Draws nothing from torch's random generator.
    Raises InputError for anything missing, damaged or not fitting.
    """
    folder = Path(folder)
    config = read_config(folder)
    own = _own(config, folder)
    net = _create(config, folder)
    load_weights(net, folder / WEIGHTS, config.architecture)
    model = TransferModel(
        net,
        classes=_classes(config, own, net.num_classes, folder),
        preprocessing=_preprocessing(own, net, config, folder),
        architecture=config.architecture,
        options=config.model_args,
    )
    if not own:
        check_forward(model, str(folder))
    return model.eval(), _open_source_head(folder, own)


def read_info(folder: Path | str) -> dict[str, Any]:
    """What `save_model` was told about the model: the `transferkit` key of config.json; empty if none."""
    return _own(read_config(Path(folder)), Path(folder))


def read_source_head(path: Path, classes: Sequence[str] | None = None) -> SourceHead:
    """A head on its own, from a safetensors file with `weight` (K, d) and perhaps `bias` (K,). Raises InputError."""
    tensors = read_weights(path)
    if "weight" not in tensors or tensors["weight"].dim() != 2:
        raise InputError(f"{path}: a source head needs a tensor `weight` of shape (classes, features)")
    names = classes or range(len(tensors["weight"]))
    return SourceHead(tensors["weight"], tensors.get("bias"), [str(name) for name in names])


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, contiguous, none sharing memory: what safetensors accepts."""
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def _head_tensors(head: SourceHead) -> dict[str, Tensor]:
    tensors = {"weight": head.weight} | ({} if head.bias is None else {"bias": head.bias})
    return _plain(tensors)


def _config(model: TransferModel, source_head: SourceHead | None, info: Mapping[str, Any]) -> dict[str, Any]:
    net: Any = model.net
    pretrained = filter_pretrained_cfg(dict(net.pretrained_cfg), remove_source=True, remove_null=True)
    pretrained = known_fields(pretrained)
    for key in ("test_input_size", "test_crop_pct", "pool_size", "label_offset", "label_descriptions"):
        pretrained.pop(key, None)
    pretrained.update(model.preprocessing.to_timm(), num_classes=len(model.classes), custom_load=False)
    pretrained.pop("label_names", None)
    own = {
        **info,
        "format": FORMAT,
        "created_by": transferkit.__version__,
        "classes": model.classes,
        "preprocessing": model.preprocessing.to_json(),
    }
    if source_head is not None:
        own["source_classes"] = source_head.classes
    return {
        "architecture": model.architecture,
        "num_classes": len(model.classes),
        "num_features": int(net.num_features),
        "label_names": model.classes,
        "model_args": model.options,
        "pretrained_cfg": pretrained,
        KEY: own,
    }


def _put_in_place(work: Path, folder: Path) -> None:
    if not folder.exists():
        work.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(old / "model")
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _own(config: FolderConfig, folder: Path) -> dict[str, Any]:
    own = config.content.get(KEY) or {}
    if not isinstance(own, dict):
        raise InputError(f'{folder / CONFIG}: the key "{KEY}" is not a mapping')
    if int(own.get("format", FORMAT)) > FORMAT:
        raise InputError(
            f"{folder}: written by transferkit {own.get('created_by', '?')} in a newer format than this version "
            "reads; upgrade transferkit"
        )
    return own


def _create(config: FolderConfig, folder: Path) -> Any:
    if not timm.is_model(config.architecture):
        raise InputError(f'{folder / CONFIG}: this timm ({timm.__version__}) has no model "{config.architecture}"')
    arguments: dict[str, Any] = {"num_classes": config.pretrained_cfg.get("num_classes"), **config.model_args}
    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(
                config.architecture, pretrained=False, pretrained_cfg=dict(config.pretrained_cfg), **arguments
            )
    except Exception as error:
        raise InputError(
            f"{folder / CONFIG}: timm cannot create {config.architecture} from it: {type(error).__name__}: {error}"
        ) from error


def _classes(config: FolderConfig, own: Mapping[str, Any], count: int, folder: Path) -> list[str]:
    names = own.get("classes") or config.pretrained_cfg.get("label_names") or range(count)
    if len(names) != count:
        raise InputError(f"{folder / CONFIG}: {len(names)} class names for a model with {count} classes")
    return [str(name) for name in names]


def _preprocessing(own: Mapping[str, Any], net: Any, config: FolderConfig, folder: Path) -> Preprocessing:
    if "preprocessing" not in own:
        return complete(net, config.model_args)
    try:
        return Preprocessing.from_json(own["preprocessing"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / CONFIG}: its preprocessing cannot be read: {error!r}") from error


def _open_source_head(folder: Path, own: Mapping[str, Any]) -> SourceHead | None:
    path = folder / SOURCE_HEAD
    return read_source_head(path, own.get("source_classes")) if path.exists() else None

"""A finished model as a folder that opens here and, as `local-dir:…`, in plain timm with the same logits.

config.json is timm's, with one key of our own; tensors are safetensors; nothing is ever unpickled.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from timm.models import filter_pretrained_cfg

from transferkit.errors import InputError, NonFiniteError, TransferkitError
from transferkit.model.adapting import merged
from transferkit.model.compatibility import check_forward, probe_batch, require_one_head
from transferkit.model.creation import create_net
from transferkit.model.folder_config import CONFIG, FORMAT, KEY, FolderConfig, read_config, timm_fields
from transferkit.model.kept_adapters import adapt_again
from transferkit.model.modes import evaluating
from transferkit.model.origin import weights_in
from transferkit.model.preprocessing import Preprocessing, complete
from transferkit.model.registered import origin
from transferkit.model.weights import load_weights, not_finite, plain, read_tensors, save_tensors
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.report import finite, write_json
from transferkit.surface import __version__
from transferkit.system.atomic import aside, fsync, make_folder, remove_leftovers, sha256
from transferkit.system.records import seal
from transferkit.system.safetensors_header import count_numbers
from transferkit.words.formats import some

WEIGHTS = "model.safetensors"  # in a model folder: the whole model
SOURCE_HEAD = "source_head.safetensors"  # beside it, the classifier of the model that it was made from
TOLERANCE = 0.02  # of the largest logit: a graphics card may round where the saved model is computed anew


def save_model(
    folder: Path | str, model: TransferModel, source_head: SourceHead | None, info: Mapping[str, Any] | None = None
) -> Path:
    """Write the model folder and return its path. It appears complete, and seen to open, or not at all.

    `info` is kept under config.json's `transferkit` key (where the weights came from, stage, recipe, …), beside the
    SHA-256 of every file. A folder of that name is replaced. Pass the plain model: not a compiled, wrapped or
    averaged one. Layers of adapters are merged into plain ones, in a copy; those that cannot be are named in
    config.json, and the folder then opens here where their plugins are installed, and not in plain timm.

    Raises NonFiniteError for a model that holds NaN or infinity, and TransferkitError for one that its folder does not
    give back: what timm's constructor does not make (layers put in place of others by hand, hooks) is in no file.
    """
    folder, trained = Path(folder), model
    model = merged(trained)
    head = {} if source_head is None else source_head.tensors()
    broken = not_finite(model.net.state_dict()) + not_finite(head)
    if broken:
        raise NonFiniteError(f"the model is not written to {folder}: it is not finite in {some(broken)}")
    make_folder(folder.parent)
    remove_leftovers(folder.parent, folder.name)
    work = Path(tempfile.mkdtemp(prefix=f"{aside(folder).name}-", dir=folder.parent))
    try:
        work.chmod(0o755)
        save_tensors(plain(model.net.state_dict()), work / WEIGHTS)
        if head:
            save_tensors(plain(head), work / SOURCE_HEAD)
        sums = {path.name: sha256(path) for path in sorted(work.iterdir())}
        write_json(work / CONFIG, seal(finite(_config(model, source_head, {**(info or {}), "files": sums})), KEY))
        for path in work.iterdir():
            path.chmod(0o644)  # a server often runs as another user
            fsync(path)  # on the disk before the folder gets its name
        _see_it_open(work, trained, folder)
        _put_in_place(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def open_model(folder: Path | str, *, verify: bool = True) -> tuple[TransferModel, SourceHead | None]:
    """The model of a folder, in evaluation mode, and the source head kept beside it.

    Files are compared with the SHA-256 in config.json, unless the caller has just done that (`verify=False`).
    Folders that plain timm wrote, which have none, open too. Draws nothing from torch's random generator.
    Raises InputError for anything missing, damaged or not fitting.
    """
    folder = Path(folder)
    before = _stamps(folder)
    config = read_config(folder)
    numbers = count_numbers(weights_in(folder))
    if verify:
        config.verify(folder)
    net = _create(config, folder, numbers)
    require_one_head(net, str(folder))
    own = config.own.preprocessing
    model = TransferModel(
        net,
        classes=[],
        preprocessing=complete(net, config.model_args) if own is None else Preprocessing.from_json(own.model_dump()),
        architecture=config.architecture,
        options=config.model_args,
    )
    adapt_again(model, config.own.adapters, str(folder / CONFIG))
    load_weights(net, weights_in(folder), config.architecture)
    model.classes = _classes(config, model.net.num_classes, folder)  # type: ignore[arg-type]
    if not config.sealed:
        check_forward(model, str(folder))
    path = folder / SOURCE_HEAD
    head = read_source_head(path, config.own.source_classes) if os.path.lexists(path) else None
    if _stamps(folder) != before:
        raise InputError(f"{folder}: was replaced while it was read; open it again")
    return model.eval(), head


def read_info(folder: Path | str) -> dict[str, Any]:
    """What `save_model` was told about the model: the `transferkit` key of config.json; empty if none."""
    return read_config(Path(folder)).info


def read_source_head(path: Path, classes: Sequence[str] | None = None) -> SourceHead:
    """A head on its own, from a safetensors file with `weight` (K, d) and perhaps `bias` (K,). Raises InputError."""
    tensors = read_tensors(path)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or weight.dim() != 2 or not weight.is_floating_point():
        raise InputError(f"{path}: a source head needs a tensor `weight` of shape (classes, features)")
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype):
        raise InputError(f"{path}: the `bias` of a source head has one number for each of {len(weight)} classes")
    names = [str(name) for name in (classes or range(len(weight)))]
    if len(names) != len(weight):
        raise InputError(f"{path}: a head for {len(weight)} classes, where there are {len(names)} names of them")
    return SourceHead(weight, bias, names)


def _see_it_open(work: Path, model: TransferModel, folder: Path) -> None:
    """Raise TransferkitError unless the folder gives back the tensors and, on one image, the logits of the model."""
    try:
        opened, _ = open_model(work, verify=False)
    except InputError as error:
        problems = "; ".join(problem.message for problem in error.problems)
        raise TransferkitError(
            f"{folder}: not saved, because it could not be opened again: timm's {model.architecture} with the options "
            f"{model.options} is not the model that was trained ({problems}); a plugin may have put other layers in it"
        ) from error
    like = model.head.weight
    images = probe_batch(opened, 1).to(like)
    with evaluating(model), torch.no_grad():
        # not model(images): under mixed precision that has been replaced, and rounds more than the saved model
        before, after = type(model).forward(model, images).logits, opened.to(like).eval()(images).logits
    bound = TOLERANCE * float(before.abs().nan_to_num().max()) if before.numel() else 0.0
    if before.shape != after.shape or not torch.allclose(before, after, rtol=0, atol=bound, equal_nan=True):
        raise TransferkitError(
            f"{folder}: not saved, because opened again it gives other logits than the model that was trained: "
            "something that is in no tensor, such as a hook or a function put in place of another, changes them"
        )


def _config(model: TransferModel, source_head: SourceHead | None, info: Mapping[str, Any]) -> dict[str, Any]:
    net: Any = model.net
    pretrained = timm_fields(filter_pretrained_cfg(dict(net.pretrained_cfg), remove_source=True, remove_null=True))
    pretrained.update(model.preprocessing.to_timm(), num_classes=len(model.classes), custom_load=False)
    for key in ("test_input_size", "test_crop_pct", "pool_size", "label_names"):
        pretrained.pop(key, None)
    kept = [adapter.to_json() for adapter in model.adapters]
    own = {
        **{key: value for key, value in info.items() if key != "adapters"},
        **({"adapters": kept} if kept else {}),
        "format": FORMAT,
        "created_by": __version__,
        "classes": model.classes,
        "preprocessing": model.preprocessing.to_json(),
        **origin(model.architecture),
        **({} if source_head is None else {"source_classes": source_head.classes}),
    }
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
    old = Path(tempfile.mkdtemp(prefix=f"{aside(folder).name}-old-", dir=folder.parent))
    folder.rename(old / "model")
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _stamps(folder: Path) -> list[tuple[str, int, int, int]]:
    """What changes when another file takes the place of one that is read."""
    found = []
    for name in (CONFIG, WEIGHTS, SOURCE_HEAD):
        with suppress(OSError, ValueError):  # whoever reads it says why
            status = (folder / name).stat()
            found.append((name, status.st_ino, status.st_mtime_ns, status.st_size))
    return found


def _create(config: FolderConfig, folder: Path, numbers: int) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):
            return create_net(
                config.architecture,
                config.model_args,
                where=str(folder / CONFIG),
                pretrained_cfg=config.pretrained_cfg,
                num_classes=config.pretrained_cfg.get("num_classes"),
                file_numbers=numbers,
            )
    except InputError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{folder / CONFIG}: timm cannot create {config.architecture} from it: {type(error).__name__}: {reason}"
        ) from error


def _classes(config: FolderConfig, count: int, folder: Path) -> list[str]:
    names = config.own.classes or config.pretrained_cfg.get("label_names") or [str(index) for index in range(count)]
    if len(names) != count:
        raise InputError(f"{folder / CONFIG}: {len(names)} class names for a model with {count} classes")
    return list(names)

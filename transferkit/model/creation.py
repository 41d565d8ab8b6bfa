"""From the recipe's `model:` section to a checked TransferModel: names, options, weights, sizes, heads.

`create_net` is the only door to `timm.create_model`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from transferkit.errors import InputError, Problem, TransferkitError
from transferkit.model import preprocessing as prep
from transferkit.model.compatibility import check_forward, require_one_head
from transferkit.model.folder_config import timm_fields
from transferkit.model.kept_adapters import adapt_again
from transferkit.model.options import permitted
from transferkit.model.origin import Origin, locate, pretrained_file
from transferkit.model.registered import is_known, unknown
from transferkit.model.weights import fill_from_file
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.system.safetensors_header import count_numbers
from transferkit.words.kinds import reason
from transferkit.words.suggest import closest

if TYPE_CHECKING:
    from transferkit.recipe import schema

Start = Literal["pretrained", "scratch"] | Path
OPTIONS = "model.options"
SLACK = 4  # a model may have more than its file: another head, positions for larger images
ONE_BY_ONE = "this architecture cannot have these values, or not together: leave them out one by one"
COMMON = ["in_chans", "img_size", "drop_rate", "drop_path_rate", "global_pool", "output_stride", "pad_type"]


def build(
    spec: schema.Model,
    *,
    weights: Start,
    source_classes: list[str] | None,
    classes: list[str] | None,
    say: Callable[[str], None] | None = None,
) -> tuple[TransferModel, SourceHead]:
    """The model of a stage and the head of the model it starts from.

    The model is created with the source's classes, filled, and only then given a new head: some families
    initialise a head of few classes so widely that its first gradients ruin the features.
    `classes=None` keeps the source's head as the target's; a source without one (a file that lacks exactly the
    classifier, a self-supervised backbone) stays without. `say` gets a sentence where weights of another library
    were understood. Raises InputError for unknown names, bad options, weights that do not fit or cannot be had,
    and models whose logits are not one linear layer over their pooled features.
    """
    chosen = permitted(spec.options, OPTIONS)
    with _downloading(spec.name):
        origin = locate(spec.name)
    options = {**origin.args, **chosen}
    net, options = _create(origin, spec, options, weights, source_classes)
    path = weights if isinstance(weights, Path) else origin.weights if weights == "pretrained" else None
    model = TransferModel(
        net,
        classes=[],
        preprocessing=prep.complete(net, options, spec.preprocessing),
        architecture=net.pretrained_cfg["architecture"],
        options=options,
    )
    if path is not None and path == origin.weights:
        adapt_again(model, origin.adapters, origin.label)
    source_count = None if path is None else fill_from_file(net, path, origin.label, say)
    require_one_head(net, origin.label)
    model.classes = _source_names(net, source_count, source_classes, origin.label)
    if isinstance(net.get_classifier(), nn.Linear):
        source = model.swap_head(classes)
    else:  # a headless source gives an empty head
        source = SourceHead(torch.zeros(0, model.num_features), None, [])
        if classes is not None:
            net.reset_classifier(len(classes))
            model.classes = list(classes)
    check_forward(model, origin.label)
    net.pretrained_cfg = {**net.pretrained_cfg, **model.preprocessing.to_timm(), "num_classes": len(model.classes)}
    return model, source


@contextmanager
def _downloading(label: str) -> Iterator[None]:
    """What goes wrong with the network inside becomes an InputError."""
    try:
        yield
    except TransferkitError:
        raise
    except Exception as error:
        if not _is_network(error):
            raise
        raise InputError(
            f"the pretrained weights of {label} could not be downloaded and are not in the local cache "
            f"({type(error).__name__}); check the name and the connection, or work offline with "
            "model.weights=FILE.safetensors"
        ) from error


def _create(
    origin: Origin,
    spec: schema.Model,
    options: dict[str, Any],
    weights: Start,
    source_classes: Sequence[str] | None,
) -> tuple[Any, dict[str, Any]]:
    """The timm model with the source's classes, and the options it was really built with."""
    arguments: dict[str, Any] = {"pretrained_cfg": origin.config}
    if weights == "pretrained" and origin.weights is None:
        with _downloading(origin.label):
            arguments["download"] = pretrained_file(origin.label, origin.pretrained_cfg)
    if origin.weights is not None and (weights == "pretrained" or os.path.lexists(origin.weights)):
        arguments["file_numbers"] = count_numbers(origin.weights)
    if weights == "scratch" and source_classes:
        arguments["num_classes"] = len(source_classes)
    sized = _with_image_size(origin, spec, options)
    if sized != options:
        try:
            return _call_timm(origin, sized, arguments), sized
        except InputError as error:
            if error.__cause__ is None or error.problems[0].where != f"{OPTIONS}.img_size":
                raise
    return _call_timm(origin, options, arguments), options


def _call_timm(origin: Origin, options: dict[str, Any], arguments: dict[str, Any]) -> Any:
    try:
        net: Any = create_net(origin.architecture, options, where=OPTIONS, **arguments)
    except (TransferkitError, OSError):
        raise
    except Exception as error:
        name = str(error).partition("unexpected keyword argument '")[2].partition("'")[0]
        if isinstance(error, TypeError) and name in options:
            hint = closest(name, [one for one in COMMON if one != name])
            suggestion = f'did you mean "{hint}"?' if hint else None
            problem = Problem(f"{OPTIONS}.{name}", f'{origin.label} takes no option "{name}"', suggestion)
        else:
            given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "its defaults"
            hint = None if str(error).strip() or not options else ONE_BY_ONE
            problem = Problem(OPTIONS, f"timm cannot create {origin.label} with {given}: {reason(error)}", hint)
        raise InputError(problem) from error
    net.pretrained_cfg.pop("file", None)  # where a download lies is no part of the model
    return net


def _is_network(error: BaseException | None) -> bool:
    """Whether the error, or what it came from, belongs to a network library."""
    while error is not None:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in {
            "huggingface_hub", "httpx", "httpcore", "requests", "urllib3", "urllib",
        }:  # fmt: skip
            return True
        error = error.__cause__ or error.__context__
    return False


def _with_image_size(origin: Origin, spec: schema.Model, options: dict[str, Any]) -> dict[str, Any]:
    """Options with `img_size` for a family of fixed size when the recipe wants another size."""
    if spec.preprocessing.input_size is None:
        return options
    wanted = prep.as_size(spec.preprocessing.input_size)
    if "img_size" in options:
        if prep.as_size(options["img_size"]) != wanted and "img_size" in spec.options:
            raise InputError(
                Problem(
                    "model.preprocessing.input_size",
                    f"{list(wanted)} contradicts model.options.img_size {options['img_size']}",
                    "give one of them",
                )
            )
    else:
        config = origin.pretrained_cfg
        if not config.get("fixed_input_size") or tuple(config.get("input_size") or ())[1:] == wanted:
            return options
    return {**options, "img_size": wanted[0] if wanted[0] == wanted[1] else list(wanted)}


def _source_names(net: Any, in_file: int | None, given: Sequence[str] | None, label: str) -> list[str]:
    count = in_file if in_file is not None else int(net.num_classes)
    if given is not None:
        if len(given) != count:
            raise InputError(f"{label} has {count} source classes and the list of their names has {len(given)}")
        return list(given)
    names = net.pretrained_cfg.get("label_names") or ()
    return [str(name) for name in names] if len(names) == count else [str(index) for index in range(count)]


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
    if not is_known(architecture):
        raise InputError(f"{where}: {unknown(architecture)}")
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
